-- Posterior weights of the birth months in the newest month, one row per user: w_<age> of each age within the stages,
-- which sum to 1, and l_<age>, the logarithm of its prior.
{% set bias_of, names = biases(), cells_within(stages()[0].from_month, stages()[-1].to_month) %}
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
            parameters.tau,
            {% for name in names %}
                priors.l_{{ name }},
                parameters.tau * state.c_{{ name }}
                + parameters.activity_weight * 0.001 * state.a_{{ name }}{{ bias_of[name] }}
                + priors.l_{{ name }} as p_{{ name }}
                {%- if not loop.last %},{% endif %}
            {% endfor %}
        from {{ state_relation(ref("birth_month_filter")) }} as state
        inner join parameters on state.user_id = parameters.user_id and state.month = parameters.month
        inner join
            {{ ref("prior_by_tenure") }} as priors
            on parameters.model_version = priors.model_version
            and {{ months_between("state.month", "state.first_month") }} = priors.tenure_months
    ),
    peaks as (
        select *, greatest({% for name in names %}p_{{ name }} {%- if not loop.last %},{% endif %} {% endfor %}) as peak
        from log_posteriors
    ),
    weights as (
        select
            *,
            {% for name in names %}
                exp(p_{{ name }} - peak) as e_{{ name }} {%- if not loop.last %},{% endif %}
            {% endfor %}
        from peaks
    ),
    totals as (select *, {{ sum_of("e_", names) }} as total from weights)
select
    user_id,
    month,
    tau,
    {% for name in names %}
        e_{{ name }} / total as w_{{ name }}, l_{{ name }} {%- if not loop.last %},{% endif %}
    {% endfor %}
from totals
