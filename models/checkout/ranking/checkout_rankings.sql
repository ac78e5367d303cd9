-- What every model would have recommended in the judged months: its first twenty, and where it put the right answers.
{% set n_new = var("checkout_new_places") %}
with
    scored as (
        select
            coefficients.model,
            examples.case_no,
            examples.item_no,
            examples.is_target,
            examples.is_new,
            {{ exact(log_odds("coefficients", "examples")) }} as log_odds
        from {{ ref("checkout_examples") }} as examples
        inner join
            {{ ref("checkout_coefficients") }} as coefficients
            on examples.month = coefficients.month
            and examples.kind = coefficients.kind
        where examples.is_judged and {{ is_offered("coefficients", "examples") }}
    ),
    placed as (
        select
            *,
            row_number() over (partition by model, case_no order by log_odds desc, item_no) as place,
            row_number() over (partition by model, case_no, is_new order by log_odds desc, item_no) as place_among_new,
            count(*) over (partition by model, case_no) as n_ranked
        from scored
    ),
    -- The last of twenty places are kept for the best of the items that nobody has bought yet.
    ranked as (
        select
            *,
            row_number() over (
                partition by model, case_no
                order by
                    case
                        when is_new and place_among_new <= {{ n_new }}
                        then least(place, {{ 20 - n_new }} + place_among_new / {{ n_new + 1.0 }})
                        else place
                    end
            ) as rank_no
        from placed
    )
select
    model,
    case_no,
    cast(rank_no as integer) as rank_no,
    item_no,
    1 / (1 + exp(- log_odds)) as probability,
    is_target = 1 as is_target,
    is_new,
    cast(n_ranked as integer) as n_ranked
from ranked
where rank_no <= 20 or is_target = 1
