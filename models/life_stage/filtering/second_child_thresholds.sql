-- Thresholds of the second child's log-odds, one row per month. Estimated on validation users up to that month, so that
-- past decisions do not change.
with
    single_children as (
        select labels.user_id, labels.month, pairs.log_odds
        from {{ ref("stage_labels") }} as labels
        inner join {{ ref("pair_filter") }} as pairs on labels.user_id = pairs.user_id and labels.month = pairs.month
        where labels.split = 'validation' and labels.n_children = 1
    )
select
    models.month,
    count(distinct single_children.user_id) as n_users,
    case
        when count(distinct single_children.user_id) >= 100
        then {{ order_statistic("single_children.log_odds", 1 - var("false_second_child_share")) }}
        else ln(20)
    end as threshold
from {{ ref("month_model_assignments") }} as models
left join single_children on models.month >= single_children.month
group by models.month
