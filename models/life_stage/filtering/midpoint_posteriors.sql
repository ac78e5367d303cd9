-- Posterior at the midpoint of the newest update, one row per user active in the newest month. Attributions are
-- computed there, so that they sum to the change.
{% set by_age, bias_of = log_likelihood_by_age(), biases() %}
{% set names = cells_within(stages()[0].from_month, stages()[-1].to_month) %}
with
    parameters as (
        select
            posteriors.user_id,
            posteriors.month,
            posteriors.model_version,
            readout.activity_weight,
            {{ readout_parameters() }}
        from {{ ref("birth_month_filter") }} as posteriors
        inner join {{ ref("readout_weights") }} as readout on posteriors.model_version = readout.model_version
        where posteriors.month = (select max(month) from {{ ref("birth_month_filter") }})
    ),
    log_posteriors as (
        select
            state.user_id,
            state.month,
            log_likelihoods.model_version as scored_by,
            parameters.tau as strength,
            {% for name in names %}
                parameters.tau * (state.c_{{ name }} - 0.5 * ({{ by_age[loop.index0] }}))
                + parameters.activity_weight * 0.001 * state.a_{{ name }}{{ bias_of[name] }}
                + priors.l_{{ name }} as l_{{ name }}
                {%- if not loop.last %},{% endif %}
            {% endfor %}
        from {{ state_relation(ref("birth_month_filter")) }} as state
        inner join parameters on state.user_id = parameters.user_id and state.month = parameters.month
        inner join
            {{ ref("stage_log_likelihoods") }} as log_likelihoods
            on state.user_id = log_likelihoods.user_id
            and state.month = log_likelihoods.month
        inner join
            {{ ref("prior_by_tenure") }} as priors
            on parameters.model_version = priors.model_version
            and {{ months_between("state.month", "state.first_month") }} = priors.tenure_months
    ),
    peaks as (
        select *, greatest({% for name in names %}l_{{ name }} {%- if not loop.last %},{% endif %} {% endfor %}) as peak
        from log_posteriors
    )
select
    user_id,
    month,
    scored_by,
    strength,
    {% for bin in bins_in_stages() %}
        {% for name in cells_within(bin.from_month, bin.to_month) -%}
            exp(l_{{ name }} - peak) {%- if not loop.last %} + {% endif %}
        {%- endfor %} as w_{{ bin.name }}
        {%- if not loop.last %},{% endif %}
    {% endfor %}
from peaks
