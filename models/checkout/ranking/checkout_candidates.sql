-- Items that could be recommended, and why: one shape of row for every source, so that a new source is one more select.
{% set names = stage_names() %}
with
    by_neighbours as (
        select
            known.case_no,
            neighbours.other_item_no as item_no,
            concat(neighbours.measure, '_', known.place) as source,
            sum({{ exact("known.weight * neighbours.score") }}) as score
        from {{ ref("checkout_case_items") }} as known
        inner join
            {{ ref("checkout_neighbours") }} as neighbours
            on known.month = neighbours.month
            and known.item_no = neighbours.item_no
        group by known.case_no, neighbours.other_item_no, neighbours.measure, known.place
    ),
    places as (
        select
            *,
            row_number() over (partition by month order by share desc, item_no) as place
            {% for name in names %}
                , row_number() over (partition by month order by share_{{ name }} desc, item_no) as place_{{ name }}
            {% endfor %}
        from {{ ref("checkout_items") }}
    ),
    popular_items as (
        select * from places where least(place {% for name in names %}, place_{{ name }} {% endfor %}) <= 50
    ),
    by_popularity as (
        select cases.case_no, items.item_no, 'popular' as source, items.share as score
        from {{ ref("checkout_cases") }} as cases
        inner join popular_items as items on cases.month = items.month and items.place <= 50
    ),
    by_stage as (
        select cases.case_no, items.item_no, 'popular_in_stage' as source, {{ mixed_share("items", "users") }} as score
        from {{ ref("checkout_cases") }} as cases
        inner join {{ ref("checkout_users") }} as users on cases.month = users.month and cases.user_id = users.user_id
        inner join popular_items as items on cases.month = items.month
        where users.stage <> 'unknown'
    ),
    candidates as (
        select *
        from by_neighbours
        union all
        select case_no, item_no, 'habit' as source, score
        from {{ ref("checkout_case_habits") }}
        union all
        select *
        from by_popularity
        union all
        select *
        from by_stage
        union all
        select case_no, item_no, 'deep' as source, score
        from {{ ref("checkout_deep_scores") }}
    ),
    ranked as (
        select
            candidates.*,
            row_number() over (
                partition by candidates.case_no, candidates.source order by candidates.score desc, candidates.item_no
            ) as place
        from candidates
        left join
            {{ ref("checkout_case_items") }} as known
            on candidates.case_no = known.case_no
            and candidates.item_no = known.item_no
            and known.place = 'cart'
        where known.item_no is null
    )
select case_no, item_no, source, score, cast(place as integer) as place
from ranked
where place <= 50
