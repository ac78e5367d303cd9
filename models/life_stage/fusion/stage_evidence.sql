-- What a month's actions say about the child's age: for every active user the sum of the weights of what was met.
-- It carries no prior, so months add up; a month without actions has no row.
{{ config(materialized="monthly", full_refresh=false, meta={"months": "months_with_model"}) }}
-- depends_on: {{ ref("month_models") }} {{ ref("month_ledger") }}
with
    weighed as (
        select
            features.user_id,
            {% for bin in age_bins() %}
                sum({{ exact("ln(1 + features.n_days) * weights.w_" ~ bin.name) }}) as e_{{ bin.name }}
                {%- if not loop.last %},{% endif %}
            {% endfor %}
        from {{ ref("user_month_features") }} as features
        inner join {{ ref("evidence_weights") }} as weights on features.feature = weights.feature
        where features.month = {{ this_month() }} and weights.model_version = '__model_version__'
        group by features.user_id
    )
select
    user_months.user_id,
    {{ this_month() }} as month,
    '__model_version__' as model_version,
    {% for bin in age_bins() %}
        coalesce(weighed.e_{{ bin.name }}, 0) + {{ exact("intercept.w_" ~ bin.name) }} as e_{{ bin.name }}
        {%- if not loop.last %},{% endif %}
    {% endfor %}
from {{ ref("user_months") }} as user_months
cross join {{ ref("evidence_weights") }} as intercept
left join weighed on user_months.user_id = weighed.user_id
where
    user_months.month = {{ this_month() }} and intercept.model_version = '__model_version__' and intercept.feature = ''
