-- Log-likelihood of each age bin given that a month is active or inactive, one row per model and class of the user's
-- past and activity. 0 for models without an activity model.
{{ config(materialized="view") }}
select
    models.model_version,
    codes.n as activity_code,
    {% for bin in age_bins() %}
        coalesce(max(case when activity.age_bin = '{{ bin.name }}' then activity.value end), 0.0) as ll_{{ bin.name }}
        {%- if not loop.last %},{% endif %}
    {% endfor %}
from {{ ref("model_registry") }} as models
cross join ({{ every_integer(0, 39) }}) as codes
left join
    {{ ref("stage_coefficients") }} as activity
    on models.model_version = activity.model_version
    and activity.model_name = 'readout'
    and activity.parameter_type = 'activity'
    and cast(codes.n as string) = activity.feature
group by models.model_version, codes.n
