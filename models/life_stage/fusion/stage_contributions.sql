-- Why a month's evidence says what it says: per user, month and stage the five features that weigh most for or against
-- the stage, and all others together. A stage's score is the mean of the evidence over its months of age, so
-- contributions add up to it exactly, as long as the features are those that the month was scored with.
{{ config(materialized="view") }}
with
    contributions as (
        {% for stage in stages() %}
            select
                evidence.user_id,
                evidence.month,
                evidence.model_version,
                '{{ stage.name }}' as stage,
                features.feature,
                features.value,
                {{ mean_over_stage("weights.w_", stage, "features.value * ") }} as contribution
            from {{ ref("stage_evidence") }} as evidence
            inner join
                {{ features_and_activity() }} as features
                on evidence.user_id = features.user_id
                and evidence.month = features.month
            inner join
                {{ ref("evidence_weights") }} as weights
                on evidence.model_version = weights.model_version
                and features.feature = weights.feature
            {% if not loop.last %}
                union all
            {% endif %}
        {% endfor %}
    ),
    placed as (
        select
            *,
            -- Being active at all is never a reason of its own.
            case
                when feature = ''
                then 6
                else
                    row_number() over (
                        partition by user_id, month, stage, feature = '' order by abs(contribution) desc, feature
                    )
            end as place
        from contributions
    )
select
    user_id,
    month,
    stage,
    case when place <= 5 then place else 6 end as place,
    case when place <= 5 then feature end as feature,
    sum(contribution) as contribution,
    count(nullif(feature, '')) as n_features,
    model_version
from placed
group by
    user_id,
    month,
    stage,
    case when place <= 5 then place else 6 end,
    case when place <= 5 then feature end,
    model_version
