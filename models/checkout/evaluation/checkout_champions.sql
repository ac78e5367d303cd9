-- Which model may answer: the cheapest of those that the best one does not beat for sure.
{{ config(materialized="view") }}
with
    costs as (select kind, model, min(cost_no) as cost_no from {{ ref("checkout_coefficients") }} group by kind, model),
    placed as (
        select
            board.kind,
            board.model,
            costs.cost_no,
            row_number() over (partition by board.kind order by board.value desc, costs.cost_no) as place
        from {{ ref("checkout_leaderboard") }} as board
        inner join costs on board.kind = costs.kind and board.model = costs.model
        where board.metric = 'recall_at_10' and board.period = 'all' and board.segment = 'all'
    ),
    as_good as (
        select
            placed.kind,
            placed.model,
            best.model as best_model,
            row_number() over (partition by placed.kind order by placed.cost_no) as place
        from placed
        inner join placed as best on placed.kind = best.kind and best.place = 1
        left join
            {{ ref("checkout_comparisons") }} as comparisons
            on placed.kind = comparisons.kind
            and best.model = comparisons.model
            and placed.model = comparisons.other_model
            and comparisons.metric = 'recall_at_10'
            and comparisons.period = 'all'
            and comparisons.segment = 'all'
        where placed.model = best.model or comparisons.lowest <= 0
    )
select kind, model, best_model
from as_good
where place = 1
