-- Feature attributions, one row per user, month, stage and rank: the five largest contributions and the sum of all
-- others. A stage's score is the mean log-likelihood over its ages, so contributions sum to it exactly, if the features
-- are unchanged since scoring.
{{ config(materialized="view") }}
with
    contributions as (
        {% for stage in stages() %}
            select
                log_likelihoods.user_id,
                log_likelihoods.month,
                log_likelihoods.model_version,
                '{{ stage.name }}' as stage,
                features.feature,
                features.value,
                {{ mean_over_stage("weights.w_", stage, "features.value * ") }} as contribution
            from {{ ref("stage_log_likelihoods") }} as log_likelihoods
            inner join
                {{ ref("attributed_features") }} as features
                on log_likelihoods.user_id = features.user_id
                and log_likelihoods.month = features.month
            inner join
                {{ ref("model_weights") }} as weights
                on log_likelihoods.model_version = weights.model_version
                and features.feature = weights.feature
            {% if not loop.last %}
                union all
            {% endif %}
        {% endfor %}
    ),
    ranked_contributions as (
        select
            *,
            -- The intercept is no attribution of its own.
            case
                when feature = ''
                then 6
                else
                    row_number() over (
                        partition by user_id, month, stage, feature = '' order by abs(contribution) desc, feature
                    )
            end as rank
        from contributions
    )
select
    user_id,
    month,
    stage,
    case when rank <= 5 then rank else 6 end as rank,
    case when rank <= 5 then feature end as feature,
    sum(contribution) as contribution,
    count(nullif(feature, '')) as n_features,
    model_version
from ranked_contributions
group by
    user_id, month, stage, case when rank <= 5 then rank else 6 end, case when rank <= 5 then feature end, model_version
