-- Ranking examples, one row per query and candidate item, with features and label. A view, because only a tenth of its
-- rows is read again, by the training of the next two months.
{{ config(materialized="view") }}
with
    candidates as (
        select
            month,
            query_id,
            item_no
            {% for generator in candidate_generators() %}
                ,
                ln(1 + coalesce(max(case when generator = '{{ generator }}' then score end), 0.0)) as {{ generator }},
                coalesce(
                    max(case when generator = '{{ generator }}' then 1 / sqrt(cast(rank as double)) end), 0.0
                ) as {{ generator }}_rank_score
            {% endfor %}
            {% for measure in checkout_measures() %}
                , coalesce(max(case when generator = '{{ measure }}_cart' then score end), 0.0) as {{ measure }}_of_cart
            {% endfor %}
        from {{ ref("checkout_candidates") }}
        group by month, query_id, item_no
    ),
    habits as (
        select *, ln(0.05 + since_days / (interval_days + 3)) as replenishment_ratio
        from {{ ref("checkout_query_habits") }}
    )
select
    queries.month,
    queries.kind,
    queries.stage,
    candidates.query_id,
    candidates.item_no,
    {% for generator in candidate_generators() %}
        candidates.{{ generator }}, candidates.{{ generator }}_rank_score,
    {% endfor %}
    {% for measure in checkout_measures() %}
        candidates.{{ measure }}_of_cart / greatest(queries.n_context_items, 1) as {{ measure }}_each,
    {% endfor %}
    coalesce(ln(1 + habits.recent_score), 0.0) as recent_propensity,
    coalesce(habits.n_baskets / (queries.n_baskets + 2.0), 0.0) as repeat_share,
    coalesce(ln(1.0 + habits.since_days), 6.0) as log_days_since_last,
    coalesce(habits.replenishment_ratio, 0.0) as replenishment_ratio,
    coalesce(abs(habits.replenishment_ratio), 2.0) as replenishment_deviation,
    ln(type_scores.cart_share) as type_of_cart,
    ln(type_scores.history_share) as type_of_history,
    ln(type_scores.browsed_share) as type_browsed,
    ln(items.share_of_type) as share_of_type,
    case when type_scores.is_in_cart then 1 else 0 end as is_type_of_cart,
    coalesce(ln({{ mixed_share("types", "users") }} / types.share), 0.0) as type_stage_lift,
    coalesce(ln({{ mixed_share("types", "users", 1) }} / types.share), 0.0) as next_type_stage_lift,
    ln(items.share) as popularity,
    coalesce(ln({{ mixed_share("items", "users") }} / items.share), 0.0) as stage_lift,
    coalesce(ln({{ mixed_share("items", "users", 1) }} / items.share), 0.0) as next_stage_lift,
    ln(1 + queries.n_baskets) as frequency,
    coalesce(ln(1 + users.recency_days), 0.0) as recency,
    items.is_new,
    type_scores.is_next_need,
    case when relevant_items.item_no is null then 0 else 1 end as is_relevant
from candidates
inner join
    {{ ref("checkout_queries") }} as queries
    on candidates.month = queries.month
    and candidates.query_id = queries.query_id
inner join {{ ref("checkout_items") }} as items on candidates.month = items.month and candidates.item_no = items.item_no
inner join {{ ref("checkout_product_types") }} as types on items.month = types.month and items.type_no = types.type_no
inner join
    {{ ref("checkout_type_scores") }} as type_scores
    on candidates.month = type_scores.month
    and candidates.query_id = type_scores.query_id
    and items.type_no = type_scores.type_no
left join
    habits
    on candidates.month = habits.month
    and candidates.query_id = habits.query_id
    and candidates.item_no = habits.item_no
left join {{ ref("checkout_users") }} as users on queries.month = users.month and queries.user_id = users.user_id
left join
    {{ ref("checkout_relevant_items") }} as relevant_items
    on candidates.query_id = relevant_items.query_id
    and candidates.item_no = relevant_items.item_no
