-- Weights of the posterior readout, one row per model. A model without such weights, from too few users or an older
-- version, has those that equal its settings tau, gamma and delta.
{% set n_bands = interval_bands() | length %}
with
    weights as (select * from {{ ref("stage_coefficients") }} where model_name = 'readout'),
    wide as (
        select
            models.model_version,
            {% for term in readout_terms() %}
                {% for name in ["log_tau", "logit_delta"] %}
                    max(
                        case
                            when weights.parameter_type = '{{ name }}' and weights.feature = '{{ term }}'
                            then weights.value
                        end
                    ) as {{ name }}_{{ term }},
                {% endfor %}
                {% for bin in bins_in_stages() %}
                    max(
                        case
                            when
                                weights.parameter_type = 'bias'
                                and weights.feature = '{{ term }}'
                                and weights.age_bin = '{{ bin.name }}'
                            then weights.value
                        end
                    ) as bias_{{ bin.name }}_{{ term }},
                {% endfor %}
            {% endfor %}
            {% for stage in stage_names() %}
                {% for band in range(n_bands) %}
                    max(
                        case
                            when
                                weights.parameter_type = 'interval_level' and weights.feature = '{{ stage }} {{ band }}'
                            then weights.value
                        end
                    ) as level_{{ stage }}_{{ band }},
                {% endfor %}
            {% endfor %}
            max(case when weights.parameter_type = 'activity_weight' then weights.value end) as activity_weight,
            max(models.tau) as tau,
            max(models.gamma) as gamma,
            max(models.delta) as delta
        from {{ ref("model_registry") }} as models
        left join weights on models.model_version = weights.model_version
        group by models.model_version
    )
select
    model_version,
    {% for term in readout_terms() %}
        coalesce(
            log_tau_{{ term }}, {{ {"constant": "ln(tau)", "log_active_months": "- gamma"}.get(term, "0.0") }}
        ) as log_tau_{{ term }},
        coalesce(
            logit_delta_{{ term }}, {{ "ln(delta / (1 - delta))" if term == "constant" else "0.0" }}
        ) as logit_delta_{{ term }},
        {% for bin in bins_in_stages() %}
            coalesce(bias_{{ bin.name }}_{{ term }}, 0.0) as bias_{{ bin.name }}_{{ term }},
        {% endfor %}
    {% endfor %}
    {% for stage in stage_names() %}
        {% for band in range(n_bands) %}
            coalesce(level_{{ stage }}_{{ band }}, 0.4) as level_{{ stage }}_{{ band }},
        {% endfor %}
    {% endfor %}
    coalesce(activity_weight, 0.0) as activity_weight
from wide
