-- Household readout, one row per user and month: probability that a child of the household is in each stage, given that
-- there is a child at all, and probability of a shopper without a child.
{{ config(materialized="monthly", full_refresh=false, meta={"months": "months_with_posterior"}) }}
-- depends on: {{ ref("birth_month_filter") }}
with
    terms as (
        select
            user_id,
            month,
            model_version,
            first_stage,
            expected_birth_month,
            no_child_log_ratio,
            {% for name in stage_names() %} age_{{ name }}, share_{{ name }}, {% endfor %}
            {% for term, sql in household_terms().items() %}
                {{ sql }} as {{ term }} {%- if not loop.last %},{% endif %}
            {% endfor %}
        from {{ ref("household_terms") }}
        where month = {{ this_month() }}
    )
select
    terms.user_id,
    terms.month,
    terms.first_stage,
    terms.expected_birth_month,
    {% for stage in stage_names() %}
        -- At least the probability that the first child is in the stage.
        cast(
            round(
                greatest(
                    terms.share_{{ stage }},
                    1 / (
                        1 + exp(
                            - (
                                {% for term in household_terms() %}
                                    weights.{{ stage }}_{{ term }} * terms.{{ term }}
                                    {%- if not loop.last %} + {% endif %}
                                {% endfor %}
                            )
                        )
                    )
                ),
                6
            ) as float
        ) as h_{{ stage }},
        terms.age_{{ stage }},
    {% endfor %}
    cast(
        round(
            weights.childless_share / (
                weights.childless_share
                + (1 - weights.childless_share) * exp(greatest(least(- terms.no_child_log_ratio, 500), -500))
            ),
            6
        ) as float
    ) as no_child_probability,
    terms.model_version
from terms
inner join
    {{ ref("household_weights") }} as weights
    on terms.model_version = weights.model_version
    and terms.first_stage = weights.first_stage
