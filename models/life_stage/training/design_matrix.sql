-- Sparse design matrix of the regression, one row per training row and feature id.
{{ config(materialized="view") }}
select features.row_no, features.split, vocabulary.feature_id, features.value / vocabulary.scale as value
from {{ ref("training_features") }} as features
inner join {{ ref("training_vocabulary") }} as vocabulary on features.feature = vocabulary.feature
