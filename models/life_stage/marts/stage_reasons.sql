-- Attributions of each published stage, one row per child and rank: the five largest features of the newest month,
-- all its others, and the prior. The posterior is a sum over months in the logarithm. So a feature's contribution is
-- its log-likelihood for the ages of the stage less that for all other ages, weighted at the midpoint of the update.
{% set reads_months = var("fusion_method") == "birth_month_filter" %}
with
    published as (
        select *, ln(greatest(probability, 1e-12) / greatest(1 - probability, 1e-12)) as log_odds
        from {{ ref("user_stages") }}
    ),
    {% if reads_months %}
        attributions as (
            {% for stage in stages() %}
                {% set inside, outside = [], [] %}
                {% for bin in age_bins()[1:-1] %}
                    {% set within = stage.from_month <= bin.from_month and bin.to_month <= stage.to_month %}
                    {% do (inside if within else outside).append(bin.name) %}
                {% endfor %}
                select
                    published.user_id,
                    published.child_no,
                    features.feature,
                    {{
                        exact(
                            "features.value * midpoint.strength * least(behaviour.p_"
                            ~ stage.name
                            ~ " / published.probability, "
                            ~ "(1 - behaviour.p_"
                            ~ stage.name
                            ~ ") / greatest(1 - published.probability, 1e-12)) * ("
                            ~ weighted_mean("weights.w_", "midpoint.w_", inside)
                            ~ " - "
                            ~ weighted_mean("weights.w_", "midpoint.w_", outside)
                            ~ ")"
                        )
                    }} as contribution
                from published
                inner join
                    {{ ref("birth_month_filter") }} as behaviour
                    on published.user_id = behaviour.user_id
                    and published.month = behaviour.month
                inner join {{ ref("midpoint_posteriors") }} as midpoint on published.user_id = midpoint.user_id
                inner join
                    {{ features_and_activity() }} as features
                    on published.user_id = features.user_id
                    and published.month = features.month
                inner join
                    {{ ref("model_weights") }} as weights
                    on midpoint.scored_by = weights.model_version
                    and features.feature = weights.feature
                where published.stage = '{{ stage.name }}' and published.is_primary
                {% if not loop.last %}
                    union all
                {% endif %}
            {% endfor %}
        ),
        ranked_rows as (
            select
                *,
                case
                    when feature = ''
                    then 6
                    else
                        row_number() over (
                            partition by user_id, child_no, feature = '' order by abs(contribution) desc, feature
                        )
                end as rank
            from attributions
        ),
        of_month as (
            select
                user_id,
                child_no,
                case when rank <= 5 then rank else 6 end as rank,
                case when rank <= 5 then feature end as feature,
                sum(contribution) as contribution
            from ranked_rows
            group by user_id, child_no, case when rank <= 5 then rank else 6 end, case when rank <= 5 then feature end
        ),
    {% endif %}
    reasons as (
        {% if reads_months %}
            select *
            from of_month
            union all
        {% endif %}
        select
            published.user_id,
            published.child_no,
            7 as rank,
            cast(null as string) as feature,
            published.log_odds
            {% if reads_months %} - coalesce(sums.contribution, 0) {% endif %} as contribution
        from published
        {% if reads_months %}
            left join
                (
                    select user_id, child_no, sum(contribution) as contribution from of_month group by user_id, child_no
                ) as sums
                on published.user_id = sums.user_id
                and published.child_no = sums.child_no
        {% endif %}
    )
select
    reasons.user_id,
    reasons.child_no,
    published.month,
    published.stage,
    cast(reasons.rank as integer) as place,
    case
        when reasons.rank = 7
        then 'what was known before this month'
        when reasons.rank = 6
        then 'everything else in this month'
        else words.reason
    end as reason,
    reasons.feature,
    reasons.contribution,
    published.log_odds
from reasons
inner join published on reasons.user_id = published.user_id and reasons.child_no = published.child_no
left join {{ ref("reason_texts") }} as words on reasons.feature = words.feature
