-- Log-likelihood per session-category group, one row per user, month and group: a leaf category, or all searches.
-- The presence log-likelihood needs the groups separately.
{{ config(materialized="view") }}
with
    observed_days as (
        select user_id, month, group_id, feature_id, ln(1 + bit_count(bit_or(day_bit))) as value
        from {{ ref("observed_features") }}
        group by user_id, month, group_id, feature_id
    )
select
    observed_days.user_id,
    observed_days.month,
    observed_days.group_id,
    models.model_version,
    {% for bin in age_bins() %}
        sum({{ exact("observed_days.value * weights.w_" ~ bin.name) }}) as ll_{{ bin.name }}
        {%- if not loop.last %},{% endif %}
    {% endfor %}
from observed_days
inner join {{ ref("month_model_assignments") }} as models on observed_days.month = models.month
inner join
    {{ ref("model_weights") }} as weights
    on models.model_version = weights.model_version
    and observed_days.feature_id = {{ id_of_text("weights.feature") }}
group by observed_days.user_id, observed_days.month, observed_days.group_id, models.model_version
