-- Precision and recall of the household readout on registered test households, one row per threshold: what
-- another var marts_min_probability would give.
with
    thresholds as (select cast(n as double) / 20 as threshold from ({{ every_integer(2, 19) }}) as steps),
    of_users as (
        select
            thresholds.threshold,
            scores.user_id,
            count(case when scores.probability >= thresholds.threshold then 1 end) as n_predicted,
            count(case when scores.probability >= thresholds.threshold and scores.has_child then 1 end) as n_right,
            count(case when scores.has_child then 1 end) as n_children
        from {{ ref("household_scores") }} as scores
        cross join thresholds
        group by thresholds.threshold, scores.user_id
    ),
    counted as (
        select
            threshold,
            count(*) as n_users,
            cast(sum(n_predicted) as bigint) as n_predicted,
            cast(sum(n_right) as double) / nullif(sum(n_predicted), 0) as precision_share,
            cast(sum(n_right) as double) / nullif(sum(n_children), 0) as recall,
            {{ effective_sample_size("n_predicted") }} as n_predicted_effective,
            {{ effective_sample_size("n_children") }} as n_children_effective
        from of_users
        group by threshold
    )
select
    threshold,
    n_users,
    n_predicted,
    precision_share,
    {{ wilson_limits("precision_share", "n_predicted_effective", "precision") }},
    recall,
    {{ wilson_limits("recall", "n_children_effective", "recall") }}
from counted
where n_users >= {{ setting("marts_min_cell_users") }}
