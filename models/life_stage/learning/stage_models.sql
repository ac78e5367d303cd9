-- The trained models and how their evidence is read.
{{ config(materialized="view") }}
select
    model_version,
    trained_through,
    {% for name in ["tau", "gamma", "delta", "birth_hazard"] %}
        max(case when kind = 'setting' and feature = '{{ name }}' then value end) as {{ name }}
        {%- if not loop.last %},{% endif %}
    {% endfor %}
from {{ ref("stage_coefficients") }}
group by model_version, trained_through
