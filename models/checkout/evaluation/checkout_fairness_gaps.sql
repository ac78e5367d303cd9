-- Fairness gaps, one row per kind, metric, model and grouping: the shopper groups with the lowest and the highest
-- value.
{{ config(materialized="view") }}
with
    groups_of_shoppers as (
        select
            kind,
            metric,
            model,
            substr(segment, 1, instr(segment, '=') - 1) as grouped_by,
            substr(segment, instr(segment, '=') + 1) as shoppers,
            value
        from {{ ref("checkout_leaderboard") }}
        where period = 'all' and segment <> 'all' and n_users >= {{ setting("marts_min_cell_users") }}
    ),
    ranked_groups as (
        select
            *,
            row_number() over (partition by kind, metric, model, grouped_by order by value, shoppers) as rank_ascending,
            row_number() over (
                partition by kind, metric, model, grouped_by order by value desc, shoppers
            ) as rank_descending
        from groups_of_shoppers
    )
select
    kind,
    metric,
    model,
    grouped_by,
    count(*) as n_groups,
    max(case when rank_ascending = 1 then shoppers end) as lowest_group,
    min(value) as lowest_value,
    max(case when rank_descending = 1 then shoppers end) as highest_group,
    max(value) as highest_value,
    max(value) - min(value) as gap,
    case when metric <> 'calibration_gap' and max(value) > 0 then min(value) / max(value) end as ratio
from ranked_groups
group by kind, metric, model, grouped_by
