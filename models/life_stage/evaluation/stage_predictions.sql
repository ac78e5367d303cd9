-- What each method said about the test users, whose registrations no model has seen, beside what they registered.
-- Every month of the window counts from the user's first on, quiet ones included.
{% set names = stage_names() %}
with
    truths as (
        select labels.user_id, labels.month, labels.age_months, {{ stage_at("labels.age_months") }} as true_stage
        from {{ ref("stage_labels") }} as labels
        where labels.split = 'test' and labels.n_children = 1
    ),
    compared as (
        select
            said.method,
            said.user_id,
            cast(said.month as date) as month,
            truths.true_stage,
            {{ first_greatest("said.p_", names) }} as predicted_stage,
            case
                truths.true_stage {% for name in names %} when '{{ name }}' then said.p_{{ name }} {% endfor %}
            end as true_stage_probability,
            greatest(
                {% for name in names %}said.p_{{ name }}{% if not loop.last %}, {% endif %} {% endfor %}
            ) as predicted_stage_probability,
            said.has_answer,
            abs(said.expected_age_months - truths.age_months) as age_error_months,
            said.model_version
        from {{ ref("evaluation_predictions") }} as said
        inner join truths on said.user_id = truths.user_id and said.month = truths.month
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
    has_answer,
    age_error_months,
    model_version
from compared
