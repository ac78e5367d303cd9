-- Feature attributions of the published stage, one row per user, child and place: the five largest contributions of the
-- newest month, its other features, and the prior. The log posterior is a sum over months. A contribution is therefore
-- the log-likelihood for the stage's ages minus that for other ages, weighted by the midpoint posterior.
{% set has_attributions = setting("fusion_method") == "birth_month_filter" %}
with
    children as (
        select
            *,
            {{ sum_of("p_", stage_names()) }} as in_stage,
            ln(greatest(probability, 1e-12) / greatest(1 - probability, 1e-12)) as log_odds
        from {{ ref("user_stages") }}
    ),
    {% if has_attributions %}
        attributions as (
            {% for stage in stages() %}
                {% set inside, outside = [], [] %}
                {% for bin in age_bins()[1:-1] %}
                    {% set within = stage.from_month <= bin.from_month and bin.to_month <= stage.to_month %}
                    {% do (inside if within else outside).append(bin.name) %}
                {% endfor %}
                select
                    children.user_id,
                    children.child_no,
                    features.feature,
                    {{
                        exact(
                            "features.value * midpoint.strength * least(behaviour.p_"
                            ~ stage.name
                            ~ " * children.in_stage / children.p_"
                            ~ stage.name
                            ~ ", (1 - behaviour.p_"
                            ~ stage.name
                            ~ ") / greatest(1 - children.p_"
                            ~ stage.name
                            ~ " / children.in_stage, 1e-12)) * ("
                            ~ weighted_mean("weights.w_", "midpoint.w_", inside)
                            ~ " - "
                            ~ weighted_mean("weights.w_", "midpoint.w_", outside)
                            ~ ")"
                        )
                    }} as contribution
                from children
                inner join
                    {{ ref("birth_month_filter") }} as behaviour
                    on children.user_id = behaviour.user_id
                    and children.month = behaviour.month
                inner join {{ ref("midpoint_posteriors") }} as midpoint on children.user_id = midpoint.user_id
                inner join
                    {{ ref("attributed_features") }} as features
                    on children.user_id = features.user_id
                    and children.month = features.month
                inner join
                    {{ ref("model_weights") }} as weights
                    on midpoint.scored_by = weights.model_version
                    and features.feature = weights.feature
                where children.stage = '{{ stage.name }}' and children.is_primary
                {% if not loop.last %}
                    union all
                {% endif %}
            {% endfor %}
        ),
        ranked_attributions as (
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
        monthly_attributions as (
            select
                user_id,
                child_no,
                case when rank <= 5 then rank else 6 end as rank,
                case when rank <= 5 then feature end as feature,
                sum(contribution) as contribution
            from ranked_attributions
            group by user_id, child_no, case when rank <= 5 then rank else 6 end, case when rank <= 5 then feature end
        ),
    {% endif %}
    reasons as (
        {% if has_attributions %}
            select *
            from monthly_attributions
            union all
        {% endif %}
        select
            children.user_id,
            children.child_no,
            7 as rank,
            cast(null as string) as feature,
            children.log_odds
            {% if has_attributions %} - coalesce(sums.contribution, 0) {% endif %} as contribution
        from children
        {% if has_attributions %}
            left join
                (
                    select user_id, child_no, sum(contribution) as contribution
                    from monthly_attributions
                    group by user_id, child_no
                ) as sums
                on children.user_id = sums.user_id
                and children.child_no = sums.child_no
        {% endif %}
    )
select
    reasons.user_id,
    reasons.child_no,
    children.month,
    children.stage,
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
    children.log_odds
from reasons
inner join children on reasons.user_id = children.user_id and reasons.child_no = children.child_no
left join {{ ref("reason_texts") }} as words on reasons.feature = words.feature
