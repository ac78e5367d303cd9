-- Model registry, one row per model version: calibration settings and quality on validation users.
{{ config(materialized="view") }}
select
    model_version,
    trained_through,
    {% for name in ["tau", "gamma", "delta", "birth_hazard", "inverse_penalty", "anchor_inverse_penalty"] %}
        max(case when parameter_type = 'setting' and feature = '{{ name }}' then value end) as {{ name }},
    {% endfor %}
    {% for name in ["n_training_users", "n_validation_users", "n_readout_users"] %}
        cast(
            max(case when parameter_type = 'diagnostic' and feature = '{{ name }}' then value end) as bigint
        ) as {{ name }},
    {% endfor %}
    {% for name in [
        "label_noise",
        "log_loss_before",
        "log_loss_after",
        "calibration_error_before",
        "calibration_error_after",
    ] %}
        max(case when parameter_type = 'diagnostic' and feature = '{{ name }}' then value end) as {{ name }}
        {%- if not loop.last %},{% endif %}
    {% endfor %}
from {{ ref("stage_coefficients") }}
group by model_version, trained_through
