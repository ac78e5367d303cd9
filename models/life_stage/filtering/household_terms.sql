-- Terms of the household readout, one row per user and month: posterior of the first child from birth_month_filter,
-- presence log-likelihood, and the log-likelihood ratio of a shopper without a child.
{{ config(materialized="view") }}
select
    posteriors.user_id,
    posteriors.month,
    posteriors.model_version,
    {{ first_greatest("posteriors.p_", stage_names()) }} as first_stage,
    posteriors.expected_birth_month,
    {% for name in stage_names() %}
        posteriors.p_{{ name }}
        * (1 - posteriors.not_yet_expecting_probability - posteriors.graduated_probability) as share_{{ name }},
        presence.age_{{ name }},
    {% endfor %}
    {% for name in presence_terms() %}
        greatest(least(cast(presence.{{ name }} as double), 40), -40) as {{ name }},
    {% endfor %}
    ln(1.0 + posteriors.months_of_evidence) as log_active_months,
    {{ months_between("posteriors.month", "posteriors.first_month") }} as tenure_months,
    posteriors.not_yet_expecting_probability,
    posteriors.no_child_log_ratio
from {{ ref("birth_month_filter") }} as posteriors
inner join
    {{ ref("presence_filter") }} as presence
    on posteriors.user_id = presence.user_id
    and posteriors.month = presence.month
