-- Rankings of the evaluated months, one row per model, query and rank: the first twenty items and all ranked relevant
-- items.
{{ config(materialized="monthly", meta={"months": "checkout_months_evaluated", "reads": {}}) }}
-- depends on: {{ ref("checkout_months") }}
{% set n_new = setting("checkout_new_places") %}
with
    scored as (
        select
            coefficients.model,
            examples.kind,
            examples.query_id,
            examples.item_no,
            examples.is_relevant,
            examples.is_new,
            examples.is_next_need,
            {{ exact(log_odds("coefficients", "examples")) }} as log_odds
        from {{ ref("checkout_examples") }} as examples
        inner join
            {{ ref("checkout_coefficients") }} as coefficients
            on coefficients.month = {{ this_month() }}
            and examples.kind = coefficients.kind
        where examples.month = {{ this_month() }} and {{ is_candidate("coefficients", "examples") }}
    ),
    ranked_by_model as (
        select
            *,
            row_number() over (partition by model, query_id order by log_odds desc, item_no) as model_rank,
            row_number() over (partition by model, query_id, is_new order by log_odds desc, item_no) as rank_among_new,
            row_number() over (
                partition by model, query_id, is_next_need order by log_odds desc, item_no
            ) as rank_among_needs,
            count(*) over (partition by model, query_id) as n_ranked
        from scored
    ),
    -- The last of the twenty ranks are reserved for the best items without a purchase. The tenth of an empty cart is
    -- for the best item of a leaf category that the shopper has never looked at.
    ranked as (
        select
            *,
            row_number() over (
                partition by model, query_id
                order by
                    case
                        when is_next_need and rank_among_needs = 1 and kind = 'user' and model like 'hybrid%'
                        then least(model_rank, 9.5)
                        when is_new and rank_among_new <= {{ n_new }}
                        then least(model_rank, {{ 20 - n_new }} + rank_among_new / {{ n_new + 1.0 }})
                        else model_rank
                    end
            ) as rank
        from ranked_by_model
    )
select
    {{ this_month() }} as month,
    model,
    query_id,
    cast(rank as integer) as rank,
    item_no,
    round(1 / (1 + exp(- log_odds)), 6) as probability,
    is_relevant = 1 as is_relevant,
    is_new,
    cast(n_ranked as integer) as n_ranked
from ranked
where rank <= 20 or is_relevant = 1
