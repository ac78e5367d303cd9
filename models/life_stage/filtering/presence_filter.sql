-- Presence log-likelihood, one row per user and month: log-likelihood that some child of the household is in each
-- stage. The recursion of birth_month_filter over presence_log_likelihoods; macros/recursive_monthly.sql runs this text
-- for each pending month, oldest first; more than two months on DuckDB are computed by the same formulas in
-- python/life_stage/filtering/presence_pass.py.
{{
    config(
        materialized="recursive_monthly",
        full_refresh=false,
        meta={"months": "months_with_model", "state": "presence_state", "pass": "presence_pass"},
    )
}}
-- depends_on: {{ ref("month_model_assignments") }} {{ ref("month_calendar") }}
{% set younger, names, by_age = cells()[:-2], cells()[1:-1], log_likelihood_by_age() %}
with
    log_likelihoods as (select * from {{ ref("presence_log_likelihoods") }} where month = {{ this_month() }}),
    -- Users without a feature in the vocabulary have a row too.
    active as (select user_id from {{ ref("stage_log_likelihoods") }} where month = {{ this_month() }}),
    aged_and_merged as (
        select
            coalesce(carried.user_id, active.user_id) as user_id,
            coalesce(carried.c_not_yet, 0)
            + {{ in_thousandths("coalesce(log_likelihoods.ll_not_yet, 0)") }} as c_not_yet,
            {% for name in names %}
                coalesce(carried.c_{{ younger[loop.index0] }}, 0)
                + {{ in_thousandths("coalesce(" ~ by_age[loop.index0] ~ ", 0)") }} as c_{{ name }},
            {% endfor %}
            coalesce(greatest(carried.c_graduated, carried.c_{{ names[-1] }}), 0)
            + {{ in_thousandths("coalesce(log_likelihoods.ll_grown, 0)") }} as c_graduated
        from {{ previous_state() }} as carried
        full outer join active on carried.user_id = active.user_id
        left join log_likelihoods on active.user_id = log_likelihoods.user_id
    ),
    peaks as (
        select
            *,
            {% for stage in stages() %}
                greatest(
                    {% for cell in cells_within(stage.from_month, stage.to_month) %}
                        c_{{ cell }} {%- if not loop.last %},{% endif %}
                    {% endfor %}
                ) as peak_{{ stage.name }}
                {%- if not loop.last %},{% endif %}
            {% endfor %}
        from aged_and_merged
    )
select
    user_id,
    {{ this_month() }} as month,
    {% for stage in stages() %}
        {% set inside = cells_within(stage.from_month, stage.to_month) %}
        cast(
            round(
                0.001 * peak_{{ stage.name }} + ln(
                    (
                        {% for cell in inside %}
                            exp(0.001 * (c_{{ cell }} - peak_{{ stage.name }})) {%- if not loop.last %} + {% endif %}
                        {% endfor %}
                    )
                    / {{ inside | length }}
                ),
                3
            ) as float
        ) as presence_{{ stage.name }},
        case
            {% for cell in inside %}
                when c_{{ cell }} = peak_{{ stage.name }} then {{ stage.from_month + loop.index0 }}
            {% endfor %}
        end as age_{{ stage.name }},
    {% endfor %}
    cast(0.001 * c_not_yet as float) as presence_not_yet,
    cast(0.001 * c_graduated as float) as presence_aged_out,
    '__model_version__' as model_version,
    {% for cell in cells() %} c_{{ cell }} {%- if not loop.last %},{% endif %} {% endfor %}
from peaks
