-- Household predictions from behaviour alone, compared with registrations: one row per registered test user, month of
-- the evaluation window and stage. Predictions are those of the models in production.
with
    truths as (
        select
            labels.user_id,
            labels.month
            {% for stage in stages() %}
                ,
                max(
                    case
                        when labels.age_months >= {{ stage.from_month }} and labels.age_months < {{ stage.to_month }}
                        then 1
                        else 0
                    end
                ) as has_{{ stage.name }}
            {% endfor %}
        from {{ ref("stage_labels") }} as labels
        inner join {{ ref("evaluation_window") }} as evaluated on labels.month = evaluated.month
        where labels.split = 'test'
        group by labels.user_id, labels.month
    ),
    children as (
        select *, {{ first_greatest("p_", stage_names()) }} as stage
        from {{ ref("stage_posteriors") }}
        where method = '{{ var("fusion_method") }}'
    ),
    -- The rules of user_stage_months for a user without a registration.
    published as (
        select user_id, month, stage, max(case when is_primary then 1 else 0 end) = 1 as is_primary
        from children
        where
            is_published
            and months_of_evidence >= {{ var("min_evidence") }}
            and (birth_confirmed or stage in ({{ quoted(prenatal_stages()) }}))
        group by user_id, month, stage
    ),
    probabilities as (
        {% for stage in stage_names() %}
            select
                truths.user_id,
                truths.month,
                '{{ stage }}' as stage,
                truths.has_{{ stage }} = 1 as has_child,
                (1 - children.no_child_probability) * children.h_{{ stage }} as probability,
                {{ months_between("children.month", "children.last_active_month") }}
                >= {{ var("stale_after_months") }} as is_stale
            from truths
            inner join children on truths.user_id = children.user_id and truths.month = children.month
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
    probabilities.has_child,
    probabilities.probability,
    published.user_id is not null and probabilities.probability >= {{ var("min_probability") }} as is_published,
    coalesce(published.is_primary, false) as is_primary,
    {{ confidence("probabilities.probability", "probabilities.is_stale") }} as confidence,
    {{
        exact(
            "- ln(greatest(case when probabilities.has_child then probabilities.probability else 1 - probabilities.probability end, 1e-4))"
        )
    }}
    as log_loss
from probabilities
left join
    published
    on probabilities.user_id = published.user_id
    and probabilities.month = published.month
    and probabilities.stage = published.stage
