-- Candidates of all generators in one shape, one row per query, generator and item. A new generator is one more select.
{{ config(materialized="view") }}
{% set names = stage_names() %}
with
    by_neighbours as (
        select
            known.month,
            known.query_id,
            neighbours.other_item_no as item_no,
            concat(neighbours.measure, '_', known.context) as generator,
            sum({{ exact("known.weight * neighbours.score") }}) as score
        from {{ ref("checkout_query_items") }} as known
        inner join
            {{ ref("checkout_neighbours") }} as neighbours
            on known.month = neighbours.month
            and known.item_no = neighbours.item_no
        group by known.month, known.query_id, neighbours.other_item_no, neighbours.measure, known.context
    ),
    item_ranks as (
        select
            *,
            row_number() over (partition by month order by share desc, item_no) as rank
            {% for name in names %}
                , row_number() over (partition by month order by share_{{ name }} desc, item_no) as rank_{{ name }}
            {% endfor %}
        from {{ ref("checkout_items") }}
    ),
    popular_items as (
        select * from item_ranks where least(rank {% for name in names %}, rank_{{ name }} {% endfor %}) <= 50
    ),
    by_popularity as (
        select queries.month, queries.query_id, items.item_no, 'popular' as generator, items.share as score
        from {{ ref("checkout_queries") }} as queries
        inner join popular_items as items on queries.month = items.month and items.rank <= 50
    ),
    by_stage as (
        select
            queries.month,
            queries.query_id,
            items.item_no,
            'popular_in_stage' as generator,
            {{ mixed_share("items", "users") }} as score
        from {{ ref("checkout_queries") }} as queries
        inner join
            {{ ref("checkout_users") }} as users on queries.month = users.month and queries.user_id = users.user_id
        inner join popular_items as items on queries.month = items.month
        where users.stage <> 'unknown'
    ),
    candidates as (
        select *
        from by_neighbours
        union all
        select month, query_id, item_no, 'habit' as generator, score
        from {{ ref("checkout_query_habits") }}
        union all
        select *
        from by_popularity
        union all
        select *
        from by_stage
        union all
        select month, query_id, item_no, 'deep' as generator, score
        from {{ ref("checkout_deep_scores") }}
    ),
    ranked as (
        select
            candidates.*,
            row_number() over (
                partition by candidates.month, candidates.query_id, candidates.generator
                order by candidates.score desc, candidates.item_no
            ) as rank
        from candidates
        left join
            {{ ref("checkout_query_items") }} as known
            on candidates.month = known.month
            and candidates.query_id = known.query_id
            and candidates.item_no = known.item_no
            and known.context = 'cart'
        where known.item_no is null
    )
select month, query_id, item_no, generator, score, cast(rank as integer) as rank
from ranked
where rank <= 50
