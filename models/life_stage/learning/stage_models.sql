-- The trained models and how their evidence is read.
{{ config(materialized="view") }}
select
    model_version,
    trained_through,
    {% for name in ["tau", "gamma", "delta", "birth_hazard"] %}
        max(case when kind = 'setting' and feature = '{{ name }}' then value end) as {{ name }},
    {% endfor %}
    count(case when kind = 'coefficient' then 1 end) as n_coefficients
from {{ ref("stage_coefficients") }}
group by model_version, trained_through
