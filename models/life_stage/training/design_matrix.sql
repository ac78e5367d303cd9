-- The features as the regression reads them, by number: a sparse matrix of months x features.
{{ config(materialized="view") }}
select features.row_no, vocabulary.feature_id, features.value / vocabulary.scale as value
from {{ ref("training_features") }} as features
inner join {{ ref("training_vocabulary") }} as vocabulary on features.feature = vocabulary.feature
