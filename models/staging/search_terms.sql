-- The distinct search terms, so that each is parsed once.
select distinct search_term from {{ ref("stg_actions") }} where search_term is not null
