-- Posterior at the midpoint of the newest update, one row per user active in the newest month. Attributions are
-- computed there, so that they sum to the change.
{% set first, last, by_age = stages()[0], stages()[-1], log_likelihood_by_age() %}
{% set inside, names = age_bins()[1:-1], cells_within(first.from_month, last.to_month) %}
with
    log_posteriors as (
        select
            state.user_id,
            state.month,
            log_likelihoods.model_version as scored_by,
            models.tau * power(greatest(state.months_of_evidence, 1), - models.gamma) as strength,
            {% for name in names %}
                models.tau
                * power(greatest(state.months_of_evidence, 1), - models.gamma)
                * (state.c_{{ name }} - 0.5 * ({{ by_age[loop.index0] }}))
                + priors.l_{{ name }} as l_{{ name }}
                {%- if not loop.last %},{% endif %}
            {% endfor %}
        from {{ state_relation(ref("birth_month_filter")) }} as state
        inner join
            {{ ref("birth_month_filter") }} as posteriors
            on state.user_id = posteriors.user_id
            and state.month = posteriors.month
        inner join
            {{ ref("stage_log_likelihoods") }} as log_likelihoods
            on state.user_id = log_likelihoods.user_id
            and state.month = log_likelihoods.month
        inner join {{ ref("model_registry") }} as models on posteriors.model_version = models.model_version
        inner join
            {{ ref("prior_by_tenure") }} as priors
            on posteriors.model_version = priors.model_version
            and {{ months_between("state.month", "state.first_month") }} = priors.tenure_months
        where state.month = (select max(month) from {{ ref("birth_month_filter") }})
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
    {% for bin in inside if first.from_month <= bin.from_month and bin.to_month <= last.to_month %}
        {% for name in cells_within(bin.from_month, bin.to_month) -%}
            exp(l_{{ name }} - peak) {%- if not loop.last %} + {% endif %}
        {%- endfor %} as w_{{ bin.name }}
        {%- if not loop.last %},{% endif %}
    {% endfor %}
from peaks
