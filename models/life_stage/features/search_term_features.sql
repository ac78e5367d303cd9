-- All features of every search term, from all search-term families.
select distinct search_term, feature from {{ ref("feature_search_ages") }}
