-- Distinct search terms, one row per month and term.
{{ config(materialized="monthly", full_refresh=false, meta={"months": "closed_months", "keep": "actions"}) }}
-- depends_on: {{ ref("month_calendar") }}
select distinct {{ this_month() }} as month, search_term
from {{ ref("stg_actions") }}
where month = {{ this_month() }} and search_term is not null
