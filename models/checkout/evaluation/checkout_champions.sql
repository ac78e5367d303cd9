-- Champion per month, one row per month and kind of query. Last month's champion stays unless the best model is
-- significantly better; then the cheapest model not significantly worse than the best wins. The neural network is
-- evaluated beside them and never serves: recommend() cannot compute it.
{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{% if is_incremental() %} delete from {{ this }} where month >= (select max(month) from {{ ref('checkout_months') }}) {% endif %}",
    )
}}
with
    made_for as (select max(month) as month from {{ ref("checkout_months") }}),
    -- Empty in the first run.
    before as (
        {% if is_incremental() %}
            select kind, model, row_number() over (partition by kind order by month desc) as rank from {{ this }}
        {% else %}select '' as kind, '' as model, 1 as rank where false
        {% endif %}
    ),
    costs as (
        select kind, model, min(cost_no) as cost_no
        from {{ ref("checkout_coefficients") }}
        where model <> 'deep'
        group by kind, model
    ),
    board as (
        select
            board.kind,
            board.model,
            board.value,
            costs.cost_no,
            case when gaps.model is null then 1 else coalesce(gaps.ratio, 0) end as worst_to_best_ratio
        from {{ ref("checkout_leaderboard") }} as board
        inner join costs on board.kind = costs.kind and board.model = costs.model
        left join
            {{ ref("checkout_fairness_gaps") }} as gaps
            on board.kind = gaps.kind
            and board.model = gaps.model
            and gaps.metric = 'recall_at_10'
            and gaps.grouped_by = 'stage'
        where board.metric = 'recall_at_10' and board.period = 'all' and board.segment = 'all'
    ),
    -- Without a model above the floor, the one with the best ratio serves.
    allowed as (
        select
            *,
            worst_to_best_ratio
            >= least({{ var("checkout_stage_floor") }}, max(worst_to_best_ratio) over (partition by kind)) as is_allowed
        from board
    ),
    ranked_rows as (
        select
            *,
            row_number() over (partition by kind, is_allowed order by value desc, cost_no) as rank,
            first_value(model) over (partition by kind order by value desc, cost_no) as best_model,
            max(value) over (partition by kind) as best_recall_at_10
        from allowed
    ),
    as_good as (
        select
            ranked_rows.*,
            row_number() over (
                partition by ranked_rows.kind
                order by case when ranked_rows.model = before.model then 0 else 1 end, ranked_rows.cost_no
            ) as rank_of_all
        from ranked_rows
        inner join ranked_rows as best on ranked_rows.kind = best.kind and best.rank = 1 and best.is_allowed
        left join
            {{ ref("checkout_comparisons") }} as comparisons
            on ranked_rows.kind = comparisons.kind
            and best.model = comparisons.model
            and ranked_rows.model = comparisons.other_model
            and comparisons.metric = 'recall_at_10'
            and comparisons.period = 'all'
            and comparisons.segment = 'all'
        left join before on ranked_rows.kind = before.kind and before.rank = 1
        where ranked_rows.is_allowed and (ranked_rows.model = best.model or comparisons.lowest <= 0)
    )
select
    made_for.month,
    as_good.kind,
    as_good.model,
    as_good.best_model,
    as_good.value as recall_at_10,
    as_good.best_recall_at_10,
    as_good.worst_to_best_ratio
from as_good
cross join made_for
where as_good.rank_of_all = 1
