-- Why a child is told to be in its stage: the five features of the newest closed month that weigh most, its others
-- together, and what was known before. The belief is a sum over months in the logarithm, so a feature's contribution
-- is its evidence for the ages of the stage less that for all other ages, by their weight halfway through the month.
{% set reads_months = var("fusion_method") == "birth_month_filter" %}
with
    told as (
        select *, ln(greatest(probability, 1e-12) / greatest(1 - probability, 1e-12)) as log_odds
        from {{ ref("user_stages") }}
    ),
    {% if reads_months %}
        weighed as (
            {% for stage in stages() %}
                {% set inside, outside = [], [] %}
                {% for bin in age_bins()[1:-1] %}
                    {% set within = stage.from_month <= bin.from_month and bin.to_month <= stage.to_month %}
                    {% do (inside if within else outside).append(bin.name) %}
                {% endfor %}
                select
                    told.user_id,
                    told.child_no,
                    features.feature,
                    {{
                        exact(
                            "features.value * halfway.strength * least(behaviour.p_"
                            ~ stage.name
                            ~ " / told.probability, "
                            ~ "(1 - behaviour.p_"
                            ~ stage.name
                            ~ ") / greatest(1 - told.probability, 1e-12)) * ("
                            ~ weighted_mean("weights.w_", "halfway.w_", inside)
                            ~ " - "
                            ~ weighted_mean("weights.w_", "halfway.w_", outside)
                            ~ ")"
                        )
                    }} as contribution
                from told
                inner join
                    {{ ref("birth_month_filter") }} as behaviour
                    on told.user_id = behaviour.user_id
                    and told.month = behaviour.month
                inner join {{ ref("halfway_ages") }} as halfway on told.user_id = halfway.user_id
                inner join
                    {{ features_and_activity() }} as features
                    on told.user_id = features.user_id
                    and told.month = features.month
                inner join
                    {{ ref("evidence_weights") }} as weights
                    on halfway.scored_by = weights.model_version
                    and features.feature = weights.feature
                where told.stage = '{{ stage.name }}' and told.is_primary
                {% if not loop.last %}
                    union all
                {% endif %}
            {% endfor %}
        ),
        placed as (
            select
                *,
                case
                    when feature = ''
                    then 6
                    else
                        row_number() over (
                            partition by user_id, child_no, feature = '' order by abs(contribution) desc, feature
                        )
                end as place
            from weighed
        ),
        of_month as (
            select
                user_id,
                child_no,
                case when place <= 5 then place else 6 end as place,
                case when place <= 5 then feature end as feature,
                sum(contribution) as contribution
            from placed
            group by
                user_id, child_no, case when place <= 5 then place else 6 end, case when place <= 5 then feature end
        ),
    {% endif %}
    reasons as (
        {% if reads_months %}
            select *
            from of_month
            union all
        {% endif %}
        select
            told.user_id,
            told.child_no,
            7 as place,
            cast(null as string) as feature,
            told.log_odds
            {% if reads_months %} - coalesce(sums.contribution, 0) {% endif %} as contribution
        from told
        {% if reads_months %}
            left join
                (
                    select user_id, child_no, sum(contribution) as contribution from of_month group by user_id, child_no
                ) as sums
                on told.user_id = sums.user_id
                and told.child_no = sums.child_no
        {% endif %}
    )
select
    reasons.user_id,
    reasons.child_no,
    told.month,
    told.stage,
    cast(reasons.place as integer) as place,
    case
        when reasons.place = 7
        then 'what was known before this month'
        when reasons.place = 6
        then 'everything else in this month'
        else words.reason
    end as reason,
    reasons.feature,
    reasons.contribution,
    told.log_odds
from reasons
inner join told on reasons.user_id = told.user_id and reasons.child_no = told.child_no
left join {{ ref("reason_texts") }} as words on reasons.feature = words.feature
