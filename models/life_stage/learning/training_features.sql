-- The features of the training rows that occur often enough to learn from.
{{ config(materialized="view") }}
with
    features_of_rows as (
        select features.user_id, features.month, features.feature, features.n_days
        from {{ ref("user_month_features") }} as features
        inner join
            {{ ref("training_rows") }} as training
            on features.user_id = training.user_id
            and features.month = training.month
    ),
    supported as (
        select feature from features_of_rows group by feature having count(*) >= {{ var("min_feature_support") }}
    )
select features_of_rows.user_id, features_of_rows.month, features_of_rows.feature, features_of_rows.n_days
from features_of_rows
inner join supported on features_of_rows.feature = supported.feature
