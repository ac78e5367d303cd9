-- Popularity of product types before each month, one row per month and type: share of all items seen in visits, overall
-- and by stage.
{{
    config(
        materialized="monthly",
        meta={
            "months": "checkout_months_all",
            "reads": {"checkout_visits": "before", "checkout_stages": "before", "checkout_type_pairs": "before"},
        },
    )
}}
-- depends on: {{ ref("checkout_months") }}
{% set names = stage_names() %}
with
    counts as (
        select
            visits.type_no,
            count(*) as n_seen
            {% for name in names %}
                , sum({{ exact("coalesce(stages_of_month.p_" ~ name ~ ", 0.0)") }}) as n_{{ name }}
            {% endfor %}
        from {{ ref("checkout_visits") }} as visits
        left join
            {{ ref("checkout_stages") }} as stages_of_month
            on visits.user_id = stages_of_month.user_id
            and visits.month = stages_of_month.month
        where visits.month < {{ this_month() }}
        group by visits.type_no
    ),
    pairs as (
        select type_no, sum(n_pairs) as n_pairs
        from {{ ref("checkout_type_pairs") }}
        where month < {{ this_month() }}
        group by type_no
    ),
    types as (
        select
            catalogue.type_no,
            catalogue.leaf_no,
            coalesce(counts.n_seen, 0) as n_seen,
            coalesce(pairs.n_pairs, 0) as n_pairs
            {% for name in names %}, coalesce(counts.n_{{ name }}, 0.0) as n_{{ name }} {% endfor %}
        from
            (select type_no, min(leaf_no) as leaf_no from {{ ref("checkout_catalogue") }} group by type_no) as catalogue
        left join counts on catalogue.type_no = counts.type_no
        left join pairs on catalogue.type_no = pairs.type_no
    ),
    shares as (select *, (n_seen + 0.5) / (sum(n_seen) over () + 0.5 * count(*) over ()) as share from types)
select
    {{ this_month() }} as month,
    type_no,
    leaf_no,
    share,
    20.0 / (n_pairs + 20) as prior_weight
    {% for name in names %}
        , (n_{{ name }} + 50 * share) / (sum(n_{{ name }}) over () + 50) as share_{{ name }}
    {% endfor %}
from shares
