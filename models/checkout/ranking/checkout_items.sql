-- Item popularity before each month, one row per month and item: share of basket lines, overall and by stage.
{% set names = stage_names() %}
with
    -- A line is weighted by the shopper's stage posterior of that time.
    counts as (
        select
            lines.month,
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
        group by lines.month, lines.item_no
    ),
    items as (
        select
            months.month,
            catalogue.item_no,
            coalesce(catalogue.leaf_category, '') as leaf_category,
            cast(coalesce(sum(counts.n_lines), 0) as bigint) as n_lines
            {% for name in names %}, coalesce(sum(counts.n_{{ name }}), 0.0) as n_{{ name }} {% endfor %}
        from {{ ref("checkout_catalogue") }} as catalogue
        cross join {{ ref("checkout_months") }} as months
        left join counts on catalogue.item_no = counts.item_no and counts.month < months.month
        group by months.month, catalogue.item_no, coalesce(catalogue.leaf_category, '')
    ),
    sums as (
        select
            *,
            sum(n_lines) over (partition by month) as n_of_month,
            sum(n_lines) over (partition by month, leaf_category) as n_of_leaf,
            count(*) over (partition by month) as n_items,
            count(*) over (partition by month, leaf_category) as n_items_of_leaf
            {% for name in names %}
                ,
                sum(n_{{ name }}) over (partition by month) as m_{{ name }},
                sum(n_{{ name }}) over (partition by month, leaf_category) as l_{{ name }}
            {% endfor %}
        from items
    ),
    -- Additive smoothing by half a line gives items without a purchase a positive share.
    shares as (
        select
            *,
            (n_of_leaf + 0.5 * n_items_of_leaf) / (n_of_month + 0.5 * n_items) as leaf_share,
            (n_lines + 0.5) / (n_of_leaf + 0.5 * n_items_of_leaf) as share_of_leaf
        from sums
    )
select
    month,
    item_no,
    n_lines,
    n_lines = 0 as is_new,
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
