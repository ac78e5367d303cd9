-- Item popularity before each month, one row per month and item: share of basket lines, overall and by stage.
{{
    config(
        materialized="monthly",
        meta={
            "months": "checkout_months_all",
            "reads": {"checkout_lines": "before", "checkout_stages": "before", "checkout_visits": "before"},
        },
    )
}}
-- depends on: {{ ref("checkout_months") }}
{% set names = stage_names() %}
with
    -- A line is weighted by the shopper's stage posterior of that time.
    counts as (
        select
            lines.item_no,
            count(*) as n_lines
            {% for name in names %}
                , sum({{ exact("coalesce(stages_of_month.p_" ~ name ~ ", 0.0)") }}) as n_{{ name }}
            {% endfor %}
        from {{ ref("checkout_lines") }} as lines
        left join
            {{ ref("checkout_stages") }} as stages_of_month
            on lines.user_id = stages_of_month.user_id
            and lines.month = stages_of_month.month
        where lines.month < {{ this_month() }}
        group by lines.item_no
    ),
    seen as (
        select item_no, count(*) as n_seen
        from {{ ref("checkout_visits") }}
        where month < {{ this_month() }}
        group by item_no
    ),
    items as (
        select
            catalogue.item_no,
            catalogue.type_no,
            coalesce(seen.n_seen, 0) as n_seen,
            coalesce(catalogue.leaf_category, '') as leaf_category,
            cast(coalesce(counts.n_lines, 0) as bigint) as n_lines
            {% for name in names %}, coalesce(counts.n_{{ name }}, 0.0) as n_{{ name }} {% endfor %}
        from {{ ref("checkout_catalogue") }} as catalogue
        left join counts on catalogue.item_no = counts.item_no
        left join seen on catalogue.item_no = seen.item_no
    ),
    sums as (
        select
            *,
            sum(n_lines) over () as n_of_all,
            sum(n_lines) over (partition by leaf_category) as n_of_leaf,
            count(*) over () as n_items,
            count(*) over (partition by leaf_category) as n_items_of_leaf
            {% for name in names %}
                ,
                sum(n_{{ name }}) over () as m_{{ name }},
                sum(n_{{ name }}) over (partition by leaf_category) as l_{{ name }}
            {% endfor %}
        from items
    ),
    -- Additive smoothing by half a line gives items without a purchase a positive share.
    shares as (
        select
            *,
            (n_of_leaf + 0.5 * n_items_of_leaf) / (n_of_all + 0.5 * n_items) as leaf_share,
            (n_lines + 0.5) / (n_of_leaf + 0.5 * n_items_of_leaf) as share_of_leaf
        from sums
    )
select
    {{ this_month() }} as month,
    item_no,
    n_lines,
    n_lines = 0 as is_new,
    type_no,
    (n_seen + 0.5) / sum(n_seen + 0.5) over (partition by type_no) as share_of_type,
    leaf_share * share_of_leaf as share
    -- Shares of a stage are shrunk to its leaf category, and those to all stages.
    {% for name in names %}
        ,
        (l_{{ name }} + 20 * leaf_share)
        / (m_{{ name }} + 20)
        * (n_{{ name }} + 20 * share_of_leaf)
        / (l_{{ name }} + 20) as share_{{ name }}
    {% endfor %}
from shares
