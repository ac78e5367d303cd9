-- What every model would have recommended in the judged months: its first twenty, and where it put the right answers.
with
    scored as (
        select
            coefficients.model,
            examples.case_no,
            examples.item_no,
            examples.is_target,
            {{ log_odds("coefficients", "examples") }} as log_odds
        from {{ ref("checkout_examples") }} as examples
        inner join
            {{ ref("checkout_coefficients") }} as coefficients
            on examples.month = coefficients.month
            and examples.kind = coefficients.kind
        where examples.is_judged and {{ is_offered("coefficients", "examples") }}
    ),
    ranked as (
        select
            *,
            row_number() over (partition by model, case_no order by log_odds desc, item_no) as rank_no,
            count(*) over (partition by model, case_no) as n_ranked
        from scored
    )
select
    model,
    case_no,
    cast(rank_no as integer) as rank_no,
    item_no,
    1 / (1 + exp(- log_odds)) as probability,
    is_target = 1 as is_target,
    cast(n_ranked as integer) as n_ranked
from ranked
where rank_no <= 20 or is_target = 1
