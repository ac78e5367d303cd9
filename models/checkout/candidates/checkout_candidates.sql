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
    items_of_types as (
        select
            month,
            item_no,
            type_no,
            share_of_type,
            row_number() over (partition by month, type_no order by share_of_type desc, item_no) as rank_in_type
        from {{ ref("checkout_items") }}
    ),
    -- The best items of sixty types score at least as much as that of the last one, so that fifty are left without the
    -- cart.
    {% for context in ["cart", "history", "need"] %}
        types_of_{{ context }} as (
            select
                *,
                case
                    when count(*) over (partition by month, query_id) = 60
                    then min(score) over (partition by month, query_id)
                    else 0
                end as lowest_score
            from
                (
                    select
                        scores.month,
                        scores.query_id,
                        scores.type_no,
                        scores.{{ context }}_share as share,
                        scores.{{ context }}_share * best_items.share_of_type as score,
                        row_number() over (
                            partition by scores.month, scores.query_id
                            order by scores.{{ context }}_share * best_items.share_of_type desc, scores.type_no
                        ) as type_rank
                    from {{ ref("checkout_type_scores") }} as scores
                    inner join
                        items_of_types as best_items
                        on scores.month = best_items.month
                        and scores.type_no = best_items.type_no
                        and best_items.rank_in_type = 1
                    where scores.{{ context }}_share > 0
                ) as ranked_types
            where type_rank <= 60
        ),
    {% endfor %}
    by_type as (
        {% for context in ["cart", "history", "need"] %}
            select
                types.month,
                types.query_id,
                items.item_no,
                'type_{{ context }}' as generator,
                types.share * items.share_of_type as score
            from types_of_{{ context }} as types
            inner join
                items_of_types as items
                on types.month = items.month
                and types.type_no = items.type_no
                and items.rank_in_type <= 60
                and types.share * items.share_of_type >= types.lowest_score
            {% if not loop.last %}
                union all
            {% endif %}
        {% endfor %}
    ),
    candidates as (
        select *
        from by_neighbours
        union all
        select *
        from by_type
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
