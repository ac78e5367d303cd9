-- Posterior over the birth month, one row per user and month. macros/recursive_monthly.sql runs this text for each
-- pending month, oldest first; more than two months on DuckDB are computed by the same formulas in
-- python/life_stage/filtering/birth_month_pass.py. A birth month is constant: the shift (Equation 1) renames each grid
-- point to the next age, the merge (Equation 2) adds the month's log-likelihood (both in aged_and_merged), and the
-- normalisation (Equation 3) is a softmax over the grid points (log_posteriors to shares). Columns of a grid point:
-- c_ carried sum, a_ of the activity, l_ log posterior, w_ weight; of a stage: s_ share, p_ probability.
{{
    config(
        materialized="recursive_monthly",
        full_refresh=false,
        meta={"months": "months_with_model", "state": "birth_month_state", "pass": "birth_month_pass"},
    )
}}
-- depends_on: {{ ref("month_model_assignments") }} {{ ref("month_calendar") }}
{% set younger, names, by_age, up_to = cells()[:-2], cells()[1:-1], log_likelihood_by_age(), weights_up_to() %}
{% set activity_by_age, bias_of = log_likelihood_by_age("codes"), biases() %}
{% set ratio_of_birth = "birth_log_ratio_before + coalesce(" ~ log_odds_of_birth("born") ~ " - log_odds_before, 0)" %}
with
    log_likelihoods as (select * from {{ ref("stage_log_likelihoods") }} where month = {{ this_month() }}),
    activity as (
        select
            activity_code,
            {{ in_thousandths("codes.ll_not_yet") }} as a_not_yet,
            {% for name in names %} {{ in_thousandths(activity_by_age[loop.index0]) }} as a_{{ name }}, {% endfor %}
            {{ in_thousandths("codes.ll_grown") }} as a_graduated
        from {{ ref("activity_log_likelihoods") }} as codes
        where model_version = '__model_version__'
    ),
    aged_and_merged as (
        select
            coalesce(carried.user_id, log_likelihoods.user_id) as user_id,
            {{ this_month() }} as month,
            coalesce(carried.first_month, {{ this_month() }}) as first_month,
            case
                when log_likelihoods.user_id is null then carried.last_active_month else {{ this_month() }}
            end as last_active_month,
            coalesce(carried.months_of_evidence, 0)
            + case when log_likelihoods.user_id is null then 0 else 1 end as months_of_evidence,
            log_likelihoods.user_id is not null as has_evidence,
            {{ activity_code("log_likelihoods.user_id is not null") }} as activity_code,
            carried.c_birth_log_odds as log_odds_before,
            coalesce(carried.c_birth_log_ratio, 0) as birth_log_ratio_before,
            coalesce(carried.c_birth_is_open, false) as birth_was_open,
            coalesce(carried.c_peaks, 0) + coalesce(
                greatest(
                    {% for bin in age_bins() %}
                        log_likelihoods.ll_{{ bin.name }} {%- if not loop.last %},{% endif %}
                    {% endfor %}
                ),
                0
            ) as c_peaks,
            {% for days in ["days", "unspecific_days", "purchase_days"] %}
                coalesce(carried.c_{{ days }}, 0) + coalesce(log_likelihoods.{{ days }}, 0) as c_{{ days }},
            {% endfor %}
            coalesce(carried.c_recent_months, 0) % 32 * 2
            + case when log_likelihoods.user_id is null then 0 else 1 end as c_recent_months,
            coalesce(carried.c_not_yet, 0) + coalesce(log_likelihoods.ll_not_yet, 0) as c_not_yet,
            coalesce(carried.a_not_yet + activity.a_not_yet, 0) as a_not_yet,
            -- A new grid point starts with the sum of `not_yet`.
            {% for name in names %}
                coalesce(carried.c_{{ younger[loop.index0] }}, 0)
                + coalesce({{ by_age[loop.index0] }}, 0) as c_{{ name }},
                coalesce(carried.a_{{ younger[loop.index0] }} + activity.a_{{ name }}, 0) as a_{{ name }},
            {% endfor %}
            coalesce(greatest(carried.c_graduated, carried.c_{{ names[-1] }}), 0)
            + coalesce(log_likelihoods.ll_grown, 0) as c_graduated,
            coalesce(greatest(carried.a_graduated, carried.a_{{ names[-1] }}) + activity.a_graduated, 0) as a_graduated
        from {{ previous_state() }} as carried
        full outer join log_likelihoods on carried.user_id = log_likelihoods.user_id
        left join activity on {{ activity_code("log_likelihoods.user_id is not null") }} = activity.activity_code
    ),
    largest_sums as (
        select
            *,
            greatest(
                {% for cell in cells() %}c_{{ cell }} {%- if not loop.last %},{% endif %} {% endfor %}
            ) as peak_of_c
        from aged_and_merged
    ),
    described as (
        select
            * {% for name, sql in readout_term_columns().items() %}, cast({{ sql }} as float) as {{ name }} {% endfor %}
        from largest_sums
    ),
    parameters as (
        select
            described.*,
            readout.activity_weight * 0.001 as activity_weight,
            {% for stage in stage_names() %}
                {% for band in interval_bands() %} readout.level_{{ stage }}_{{ loop.index0 }}, {% endfor %}
            {% endfor %}
            {{ readout_parameters() }}
        from described
        cross join (select * from {{ ref("readout_weights") }} where model_version = '__model_version__') as readout
    ),
    log_posteriors as (
        select
            parameters.*,
            {% for stage in stages() %} priors.prior_{{ stage.name }}, {% endfor %}
            priors.prior_not_yet,
            priors.prior_graduated,
            priors.l_not_yet as log_prior_not_yet,
            {% for cell in cells() %}
                tau * c_{{ cell }}
                + activity_weight * a_{{ cell }}{{ bias_of.get(cell, "") }}
                + priors.l_{{ cell }} as l_{{ cell }}
                {%- if not loop.last %},{% endif %}
            {% endfor %}
        from parameters
        inner join
            (select * from {{ ref("prior_by_tenure") }} where model_version = '__model_version__') as priors
            on {{ months_between("parameters.month", "parameters.first_month") }} = priors.tenure_months
    ),
    peaks as (
        select
            *, greatest({% for cell in cells() %}l_{{ cell }} {%- if not loop.last %},{% endif %} {% endfor %}) as peak
        from log_posteriors
    ),
    weights as (
        select
            *,
            {% for cell in cells() %}
                exp(l_{{ cell }} - peak) as w_{{ cell }} {%- if not loop.last %},{% endif %}
            {% endfor %}
        from peaks
    ),
    totals as (
        select
            *,
            {{ sum_of("w_", cells()) }} as total,
            {{ sum_of("w_", cells_within(-1000, 0)) }} as expected,
            {{ sum_of("w_", cells_within(-1, 0)) }} as due,
            {{ sum_of("w_", cells_within(0, 1000) + ["graduated"]) }} as born,
            {% for block in age_blocks() %}
                {{ sum_of("w_", block) }} as b_{{ loop.index }} {%- if not loop.last %},{% endif %}
            {% endfor %}
        from weights
    ),
    -- Pregnancies can be lost, so log-odds of a child against none are summed over the months after the birth.
    births as (
        select
            *,
            expected > 0.5 * total as is_expected,
            case
                when expected > 0.5 * total
                then cast(0 as double)
                when has_evidence
                then {{ ratio_of_birth }}
                else birth_log_ratio_before
            end as birth_log_ratio,
            {% for name in names %}
                {{ up_to[loop.index0] }} as y_{{ name }} {%- if not loop.last %},{% endif %}
            {% endfor %}
        from totals
    ),
    -- The prior mixing weight models label noise: some registrations and purchases are misleading.
    shares as (
        select
            *,
            {% for stage in stages() %}
                (1 - delta) * ({{ sum_of("w_", cells_within(stage.from_month, stage.to_month)) }}) / total
                + delta * prior_{{ stage.name }} as s_{{ stage.name }},
            {% endfor %}
            (1 - delta) * w_not_yet / total + delta * prior_not_yet as not_yet_expecting_probability,
            (1 - delta) * ({{ sum_of("w_", cells_within(stages()[-1].to_month, 10000) + ["graduated"]) }}) / total
            + delta * prior_graduated as graduated_probability,
            is_expected or (birth_was_open and birth_log_ratio < {{ log_odds_to_confirm() }}) as birth_is_open
        from births
    ),
    intervals as (select *, {{ interval_level() }} as level from shares)
select
    user_id,
    month,
    first_month,
    last_active_month,
    months_of_evidence,
    {% for name in stage_names() %}
        round(s_{{ name }} / ({{ sum_of("s_", stage_names()) }}), 6) as p_{{ name }},
    {% endfor %}
    round(not_yet_expecting_probability, 6) as not_yet_expecting_probability,
    round(graduated_probability, 6) as graduated_probability,
    {{ birth_month_at(0.5) }} as expected_birth_month,
    {{ birth_month_at("(0.5 + level)") }} as earliest_birth_month,
    {{ birth_month_at("(0.5 - level)") }} as latest_birth_month,
    round({{ months_until_next_stage() }}, 6) as months_until_next_stage,
    not birth_is_open and born > 4 * (expected + w_not_yet) as birth_confirmed,
    round(peak + ln(total), 6) as log_marginal_likelihood,
    round(l_not_yet - log_prior_not_yet - peak - ln(total), 6) as no_child_log_ratio,
    activity_code,
    {{ readout_term_columns() | join(", ") }},
    '__model_version__' as model_version,
    '{{ invocation_id }}' as run_id,
    case when born + due > expected - due then {{ log_odds_of_birth("born + due") }} end as c_birth_log_odds,
    birth_log_ratio as c_birth_log_ratio,
    birth_is_open as c_birth_is_open,
    c_peaks,
    c_days,
    c_unspecific_days,
    c_purchase_days,
    c_recent_months,
    {% for cell in cells() %} c_{{ cell }}, a_{{ cell }} {%- if not loop.last %},{% endif %} {% endfor %}
from intervals
