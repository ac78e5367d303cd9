-- Cart complements, one row per item and rank: ten neighbours by the basket measure with the highest recall, then by
-- description. Pairs from baskets need at least var marts_min_cell_users shoppers, because a rare pair could identify a
-- family.
with
    measures as (
        select model as measure, row_number() over (order by value desc, model) as rank
        from {{ ref("checkout_leaderboard") }}
        where
            kind = 'cart'
            and metric = 'recall_at_10'
            and period = 'all'
            and segment = 'all'
            and model in ('together', 'linear')
    ),
    shared as (
        select item_no, other_item_no
        from ({{ pairs_in_baskets(ref("checkout_lines")) }}) as of_baskets
        group by item_no, other_item_no
        having count(distinct user_id) >= {{ setting("marts_min_cell_users") }}
    ),
    eligible as (
        select
            neighbours.month,
            neighbours.item_no,
            neighbours.other_item_no,
            neighbours.score,
            neighbours.measure,
            row_number() over (
                partition by neighbours.item_no, neighbours.other_item_no
                order by case when neighbours.measure = 'alike' then 1 else 0 end
            ) as measure_rank
        from {{ ref("checkout_neighbours") }} as neighbours
        inner join {{ ref("checkout_months") }} as months on neighbours.month = months.month and not months.is_closed
        left join
            shared
            on least(neighbours.item_no, neighbours.other_item_no) = shared.item_no
            and greatest(neighbours.item_no, neighbours.other_item_no) = shared.other_item_no
        where
            neighbours.measure = 'alike'
            or (
                neighbours.measure = coalesce((select measure from measures where rank = 1), 'together')
                and shared.item_no is not null
            )
    ),
    ranked as (
        select
            *,
            row_number() over (
                partition by item_no order by case when measure = 'alike' then 1 else 0 end, score desc, other_item_no
            ) as rank
        from eligible
        where measure_rank = 1
    )
select
    ranked.month,
    catalogue.item_id,
    cast(ranked.rank as integer) as rank,
    others.item_id as other_item_id,
    ranked.score,
    ranked.measure as reason
from ranked
inner join {{ ref("checkout_catalogue") }} as catalogue on ranked.item_no = catalogue.item_no
inner join {{ ref("checkout_catalogue") }} as others on ranked.other_item_no = others.item_no
where ranked.rank <= 10
