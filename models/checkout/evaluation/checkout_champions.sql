-- Champion, one row per month and kind, of the models trained for the target month. The incumbent stays unless another
-- model is significantly better, by more than the margin, on enough queries of enough users; then the best one wins.
-- With fewer the incumbent serves whatever its figures, else the hybrid. The hybrid is also the first incumbent, and
-- takes the place of a model with the same list for everybody. The neural network is evaluated but excluded, because
-- recommend() does not support it.
{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{% if is_incremental() %} delete from {{ this }} where month >= (select max(month) from {{ ref('checkout_months') }}) {% endif %}",
    )
}}
with
    target_month as (select max(month) as month from {{ ref("checkout_months") }}),
    -- Empty in the first run.
    previous_champions as (
        {% if is_incremental() %}
            select kind, model, row_number() over (partition by kind order by month desc) as rank from {{ this }}
        {% else %}select '' as kind, '' as model, 1 as rank where false
        {% endif %}
    ),
    costs as (
        select kind, model, cost_no
        from {{ ref("checkout_coefficients") }}
        where model <> 'deep' and month = (select month from target_month)
    ),
    candidates as (
        select
            costs.kind,
            costs.model,
            costs.cost_no,
            leaderboard.value,
            {{ are_enough("leaderboard.n_queries", "leaderboard.n_users") }} as are_enough,
            case when gaps.model is null then 1 else coalesce(gaps.ratio, 0) end as worst_to_best_ratio
        from costs
        left join
            {{ ref("checkout_leaderboard") }} as leaderboard
            on costs.kind = leaderboard.kind
            and costs.model = leaderboard.model
            and leaderboard.metric = 'recall_at_10'
            and leaderboard.period = 'all'
            and leaderboard.segment = 'all'
        left join
            {{ ref("checkout_fairness_gaps") }} as gaps
            on costs.kind = gaps.kind
            and costs.model = gaps.model
            and gaps.metric = 'recall_at_10'
            and gaps.grouped_by = 'stage'
    ),
    -- If no model reaches the floor, the one with the highest worst-to-best ratio is allowed.
    allowed as (
        select
            *,
            not are_enough
            or worst_to_best_ratio >= least(
                {{ setting("checkout_stage_floor") }}, max(worst_to_best_ratio) over (partition by kind)
            ) as is_allowed
        from candidates
    ),
    ranked_models as (
        select
            *,
            row_number() over (partition by kind, is_allowed order by value desc nulls last, cost_no) as rank,
            first_value(model) over (partition by kind order by value desc nulls last, cost_no) as best_model,
            max(value) over (partition by kind) as best_recall_at_10
        from allowed
    ),
    incumbents as (
        select ranked_models.kind, ranked_models.model, ranked_models.value
        from ranked_models
        left join previous_champions on ranked_models.kind = previous_champions.kind and previous_champions.rank = 1
        where
            ranked_models.is_allowed
            and ranked_models.model = case
                when previous_champions.model = 'popular'
                then 'hybrid'
                else coalesce(previous_champions.model, 'hybrid')
            end
    ),
    -- Without an incumbent that is allowed, the best model wins.
    eligible as (
        select
            ranked_models.*,
            row_number() over (
                partition by ranked_models.kind
                order by
                    case
                        when ranked_models.model = incumbents.model
                        then 1
                        when
                            ranked_models.are_enough
                            and comparisons.lowest > {{ setting("verdicts_margin") }} * incumbents.value
                        then 0
                        when not ranked_models.are_enough and ranked_models.model = 'hybrid'
                        then 2
                        else 3
                    end,
                    ranked_models.rank
            ) as champion_rank
        from ranked_models
        left join incumbents on ranked_models.kind = incumbents.kind
        left join
            {{ ref("checkout_comparisons") }} as comparisons
            on ranked_models.kind = comparisons.kind
            and ranked_models.model = comparisons.model
            and incumbents.model = comparisons.other_model
            and comparisons.metric = 'recall_at_10'
            and comparisons.period = 'all'
            and comparisons.segment = 'all'
        where ranked_models.is_allowed
    )
select
    target_month.month,
    eligible.kind,
    eligible.model,
    eligible.best_model,
    eligible.value as recall_at_10,
    eligible.best_recall_at_10,
    eligible.worst_to_best_ratio
from eligible
cross join target_month
where eligible.champion_rank = 1
