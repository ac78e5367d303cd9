-- Feature vocabulary, one row per feature with enough training rows. Alphabetical order makes ids reproducible.
{{ config(materialized="view") }}
select
    cast(row_number() over (order by feature) as integer) as feature_id,
    feature,
    count(*) as n_rows,
    -- Days have one scale already; values of feature groups are scaled to [-1, 1].
    case when count(n_days) > 0 or max(abs(value)) = 0 then cast(1 as double) else max(abs(value)) end as scale
from {{ ref("training_features") }}
where split = 'train'
group by feature
having count(*) >= {{ setting("training_min_feature_support") }}
