-- Household predictions from behaviour alone, compared with registrations: one row per registered test user, month of
-- the evaluation window and stage. Predictions are those of the models in production.
with
    labels as (
        select labels.user_id, labels.month, {{ stage_at("labels.age_months") }} as stage
        from {{ ref("stage_labels") }} as labels
        inner join {{ ref("evaluation_window") }} as evaluated on labels.month = evaluated.month
        where labels.split = 'test'
    ),
    test_months as (select distinct user_id, month from labels),
    truths as (select distinct user_id, month, stage from labels),
    children as (
        select *, {{ first_greatest("p_", stage_names()) }} as stage
        from {{ ref("stage_posteriors") }}
        where method = '{{ setting("fusion_method") }}'
    ),
    -- The rules of user_stage_months for a user without a registration, without the limit on a stage's duration.
    published as (
        select user_id, month, stage, max(case when is_primary then 1 else 0 end) = 1 as is_primary
        from children
        where is_published and {{ may_be_published("birth_confirmed") }}
        group by user_id, month, stage
    ),
    probabilities as (
        {% for stage in stage_names() %}
            select
                children.user_id,
                children.month,
                '{{ stage }}' as stage,
                (1 - children.no_child_probability) * children.h_{{ stage }} as probability,
                {{ months_between("children.month", "children.last_active_month") }}
                >= {{ setting("marts_stale_after_months") }} as is_stale
            from children
            inner join test_months on children.user_id = test_months.user_id and children.month = test_months.month
            where children.is_primary
            {% if not loop.last %}
                union all
            {% endif %}
        {% endfor %}
    )
select
    probabilities.user_id,
    probabilities.month,
    probabilities.stage,
    truths.user_id is not null as has_child,
    probabilities.probability,
    published.user_id is not null
    and probabilities.probability >= {{ setting("marts_min_probability") }} as is_published,
    coalesce(published.is_primary, false) as is_primary,
    {{ confidence("probabilities.probability", "probabilities.is_stale") }} as confidence,
    {{
        exact(
            "- ln(greatest(case when truths.user_id is not null then probabilities.probability else 1 - probabilities.probability end, 1e-4))"
        )
    }}
    as log_loss
from probabilities
left join
    truths
    on probabilities.user_id = truths.user_id
    and probabilities.month = truths.month
    and probabilities.stage = truths.stage
left join
    published
    on probabilities.user_id = published.user_id
    and probabilities.month = published.month
    and probabilities.stage = published.stage
