-- Predictions compared with registrations, one row per method, test user and month. Inactive months count from the
-- user's first month on.
{% set names = stage_names() %}
with
    truths as (
        select labels.user_id, labels.month, labels.age_months, {{ stage_at("labels.age_months") }} as true_stage
        from {{ ref("stage_labels") }} as labels
        where labels.split = 'test' and labels.n_children = 1
    ),
    compared as (
        select
            predictions.method,
            predictions.user_id,
            cast(predictions.month as date) as month,
            truths.true_stage,
            {{ first_greatest("predictions.p_", names) }} as predicted_stage,
            case
                truths.true_stage {% for name in names %} when '{{ name }}' then predictions.p_{{ name }} {% endfor %}
            end as true_stage_probability,
            greatest(
                {% for name in names %}predictions.p_{{ name }}{% if not loop.last %}, {% endif %} {% endfor %}
            ) as predicted_stage_probability,
            predictions.has_prediction,
            abs(predictions.expected_age_months - truths.age_months) as age_error_months,
            predictions.model_version
        from {{ ref("evaluation_predictions") }} as predictions
        inner join truths on predictions.user_id = truths.user_id and predictions.month = truths.month
        where truths.true_stage is not null
    )
select
    method,
    user_id,
    month,
    true_stage,
    predicted_stage,
    predicted_stage = true_stage as is_right,
    true_stage_probability,
    predicted_stage_probability,
    {{ exact("- ln(greatest(true_stage_probability, 1e-12))") }} as log_loss,
    has_prediction,
    age_error_months,
    model_version
from compared
