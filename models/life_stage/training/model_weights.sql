-- Model weights in wide format, one row per model and feature. Three marks make sums of days for the readout: days in
-- leaf categories, in those whose weights hardly depend on the age, and of purchases.
with
    weights as (
        select
            model_version,
            feature,
            feature like 'leaf=%' and feature not like '%:%' as is_leaf,
            sqrt(sum(value * value) / count(*)) as spread,
            {% for bin in age_bins() %}
                max(case when age_bin = '{{ bin.name }}' then value end) as w_{{ bin.name }}
                {%- if not loop.last %},{% endif %}
            {% endfor %}
        from {{ ref("stage_coefficients") }}
        where model_name = 'log_likelihood' and parameter_type in ('coefficient', 'intercept')
        group by model_version, feature
    ),
    limits as (select model_version, 0.8 * avg(spread) as spread from weights where is_leaf group by model_version)
select
    weights.model_version,
    weights.feature,
    {% for bin in age_bins() %} weights.w_{{ bin.name }}, {% endfor %}
    case when weights.is_leaf then 1 else 0 end as counts_days,
    case when weights.is_leaf and weights.spread < limits.spread then 1 else 0 end as counts_unspecific_days,
    case when weights.feature like 'leaf=%:purchase' then 1 else 0 end as counts_purchase_days
from weights
left join limits on weights.model_version = limits.model_version
