-- Score sums of each model, one row per model and evaluated query, for means and their standard errors.
{{ config(materialized="monthly", meta={"months": "checkout_months_evaluated", "reads": {}}) }}
-- depends on: {{ ref("checkout_months") }}
{% set sums = {
    "n_ranked_relevant": "case when is_relevant then 1 else 0 end",
    "n_wrong_before": "case when is_relevant then rank - n_hits else 0 end",
    "n_hits_at_10": "case when is_relevant and rank <= 10 then 1 else 0 end",
    "n_hits_at_20": "case when is_relevant and rank <= 20 then 1 else 0 end",
    "n_new_hits_at_20": "case when is_relevant and is_new and rank <= 20 then 1 else 0 end",
    "n_shown": "case when rank <= 10 then 1 else 0 end",
    "precisions": exact("case when is_relevant and rank <= 10 then n_hits * 1.0 / rank else 0 end"),
    "dcg": exact("case when is_relevant and rank <= 10 then 1 / log2(rank + 1) else 0 end"),
    "excess_probability": exact(
        "case when rank > 10 then 0 when is_relevant then probability - 1 else probability end"
    ),
    "squared_error": exact(
        "case when rank > 10 then 0 when is_relevant then power(1 - probability, 2) else power(probability, 2) end"
    ),
} %}
with
    models as (select distinct kind, model from {{ ref("checkout_coefficients") }} where month = {{ this_month() }}),
    hits as (
        select
            *,
            sum(case when is_relevant then 1 else 0 end) over (
                partition by model, query_id order by rank rows between unbounded preceding and current row
            ) as n_hits
        from {{ ref("checkout_rankings") }}
        where month = {{ this_month() }}
    ),
    score_sums as (
        select
            model,
            query_id,
            max(n_ranked) as n_ranked
            {% for name, term in sums.items() %}, sum({{ term }}) as {{ name }} {% endfor %}
        from hits
        group by model, query_id
    ),
    new_relevant_items as (
        select queries.query_id, count(*) as n_new_relevant
        from {{ ref("checkout_queries") }} as queries
        inner join {{ ref("checkout_relevant_items") }} as relevant_items on queries.query_id = relevant_items.query_id
        inner join
            {{ ref("checkout_items") }} as items
            on items.month = {{ this_month() }}
            and relevant_items.item_no = items.item_no
        where items.is_new and queries.month = {{ this_month() }}
        group by queries.query_id
    ),
    relevant_types as (
        select queries.query_id, scores.type_no, scores.is_next_need
        from {{ ref("checkout_queries") }} as queries
        inner join {{ ref("checkout_relevant_items") }} as relevant_items on queries.query_id = relevant_items.query_id
        inner join {{ ref("checkout_catalogue") }} as catalogue on relevant_items.item_no = catalogue.item_no
        inner join
            {{ ref("checkout_type_scores") }} as scores
            on scores.month = {{ this_month() }}
            and queries.query_id = scores.query_id
            and catalogue.type_no = scores.type_no
        where queries.month = {{ this_month() }}
        group by queries.query_id, scores.type_no, scores.is_next_need
    ),
    type_totals as (
        select query_id, count(*) as n_types, count(case when is_next_need then 1 end) as n_needs
        from relevant_types
        group by query_id
    ),
    types_found as (
        select
            hits.model,
            hits.query_id,
            count(distinct relevant_types.type_no) as n_types_found,
            count(distinct case when relevant_types.is_next_need then relevant_types.type_no end) as n_needs_found
        from hits
        inner join {{ ref("checkout_catalogue") }} as catalogue on hits.item_no = catalogue.item_no
        inner join
            relevant_types on hits.query_id = relevant_types.query_id and catalogue.type_no = relevant_types.type_no
        where hits.rank <= 10
        group by hits.model, hits.query_id
    ),
    ideals as (
        select n, sum({{ exact("1 / log2(n + 1)") }}) over (order by n) as ideal
        from ({{ every_integer(1, 10) }}) as numbers
    ),
    evaluated_queries as (
        select
            queries.*,
            users.tenure_days,
            models.model,
            (select count(*) from {{ ref("checkout_catalogue") }})
            - queries.n_context_items
            - queries.n_relevant as n_wrong,
            ideals.ideal,
            coalesce(new_relevant_items.n_new_relevant, 0) as n_new_relevant,
            coalesce(score_sums.n_ranked, 0) as n_ranked,
            type_totals.n_types,
            coalesce(type_totals.n_needs, 0) as n_needs,
            coalesce(types_found.n_types_found, 0) as n_types_found,
            coalesce(types_found.n_needs_found, 0) as n_needs_found
            {% for name in sums %}, coalesce(score_sums.{{ name }}, 0) as {{ name }} {% endfor %}
        from {{ ref("checkout_queries") }} as queries
        inner join models on queries.kind = models.kind
        left join
            {{ ref("checkout_users") }} as users on users.month = {{ this_month() }} and queries.user_id = users.user_id
        left join new_relevant_items on queries.query_id = new_relevant_items.query_id
        left join ideals on least(queries.n_relevant, 10) = ideals.n
        left join score_sums on models.model = score_sums.model and queries.query_id = score_sums.query_id
        left join type_totals on queries.query_id = type_totals.query_id
        left join types_found on models.model = types_found.model and queries.query_id = types_found.query_id
        where queries.month = {{ this_month() }}
    )
select
    model,
    query_id,
    month,
    kind,
    user_id,
    stage,
    case
        when n_baskets = 0 then 'new' when n_baskets < 10 then 'below 10 baskets' else '10 baskets or more'
    end as activity,
    case
        when tenure_days is null then 'new' when tenure_days < 180 then 'below 180 days' else '180 days or more'
    end as tenure,
    case when n_relevant > 0 then 1 else 0 end as has_relevant_items,
    case when n_needs > 0 then 1 else 0 end as has_next_needs,
    n_new_relevant,
    n_new_hits_at_20,
    n_shown,
    10 as n_ranks,
    squared_error,
    excess_probability,
    coalesce(n_hits_at_10 * 1.0 / nullif(n_relevant, 0), 0.0) as recall_at_10,
    coalesce(n_hits_at_20 * 1.0 / nullif(n_relevant, 0), 0.0) as recall_at_20,
    coalesce(n_types_found * 1.0 / n_types, 0.0) as type_recall_at_10,
    coalesce(n_needs_found * 1.0 / nullif(n_needs, 0), 0.0) as next_need_recall_at_10,
    coalesce(precisions / nullif(least(n_relevant, 10), 0), 0.0) as precision_at_10,
    coalesce(dcg / ideal, 0.0) as ndcg_at_10,
    -- Share of correctly ordered pairs of a relevant and another item; unranked items are tied at the end.
    coalesce(
        1
        - (n_wrong_before + (n_relevant - n_ranked_relevant) * (n_ranked - n_ranked_relevant + n_wrong) / 2.0)
        / nullif(n_relevant * n_wrong, 0),
        0.0
    ) as auc
from evaluated_queries
