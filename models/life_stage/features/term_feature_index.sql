-- Features that a search counts for, one row per search term and feature.
{{ config(materialized="table") }}
select search_term, feature, {{ id_of_text("feature") }} as feature_id
from {{ ref("search_term_features") }}
