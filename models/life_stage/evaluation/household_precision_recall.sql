-- Precision and recall of the household readout on registered test households, one row per threshold: what
-- another var marts_min_probability would give.
with
    thresholds as (select cast(n as double) / 20 as threshold from ({{ every_integer(2, 19) }}) as steps),
    counted as (
        select
            thresholds.threshold,
            count(distinct scores.user_id) as n_users,
            count(case when scores.probability >= thresholds.threshold then 1 end) as n_predicted,
            count(case when scores.probability >= thresholds.threshold and scores.has_child then 1 end) as n_right,
            count(case when scores.has_child then 1 end) as n_children
        from {{ ref("household_scores") }} as scores
        cross join thresholds
        group by thresholds.threshold
    )
select
    threshold,
    n_users,
    n_predicted,
    cast(n_right as double) / nullif(n_predicted, 0) as precision_share,
    cast(n_right as double) / nullif(n_children, 0) as recall
from counted
where n_users >= {{ setting("marts_min_cell_users") }}
