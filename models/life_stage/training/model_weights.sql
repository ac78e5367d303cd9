-- Model weights in wide format, one row per model and feature. Rounded to multiples of 2^-36, as are all products with
-- them: such sums are exact in any order.
select
    model_version,
    feature,
    {% for bin in age_bins() %}
        max(case when age_bin = '{{ bin.name }}' then value end) as w_{{ bin.name }} {%- if not loop.last %},{% endif %}
    {% endfor %}
from {{ ref("stage_coefficients") }}
where model_name = 'log_likelihood' and parameter_type in ('coefficient', 'intercept')
group by model_version, feature
