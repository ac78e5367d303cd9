-- What to show each shopper whose cart is still empty: ten items, why, and how probable it is that one is bought soon.
with
    scored as (
        select
            examples.*,
            {{ log_odds("coefficients", "examples") }} as log_odds
            {% for source in checkout_sources() %}
                ,
                coefficients.w_{{ source }} * examples.{{ source }}
                + coefficients.w_{{ source }}_place * examples.{{ source }}_place as from_{{ source }}
            {% endfor %}
        from {{ ref("checkout_examples") }} as examples
        inner join
            {{ ref("checkout_coefficients") }} as coefficients
            on examples.month = coefficients.month
            and examples.kind = coefficients.kind
        inner join
            {{ ref("checkout_champions") }} as champions
            on coefficients.month = champions.month
            and coefficients.kind = champions.kind
            and coefficients.model = champions.model
        where not examples.is_closed and examples.kind = 'user' and {{ is_offered("coefficients", "examples") }}
    ),
    ranked as (
        select *, row_number() over (partition by case_no order by log_odds desc, item_no) as rank_no from scored
    )
select
    ranked.month,
    cases.user_id,
    cast(ranked.rank_no as integer) as place,
    catalogue.item_id,
    1 / (1 + exp(- ranked.log_odds)) as purchase_probability,
    {{ first_greatest("ranked.from_", checkout_sources()) }} as reason,
    cases.stage
from ranked
inner join {{ ref("checkout_cases") }} as cases on ranked.case_no = cases.case_no
inner join {{ ref("checkout_catalogue") }} as catalogue on ranked.item_no = catalogue.item_no
where ranked.rank_no <= 10
