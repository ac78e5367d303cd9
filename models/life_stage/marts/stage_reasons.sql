-- Why a child is told to be in its stage: the five features of the newest closed month that weigh most, the month's
-- others
-- together, and what was known before. A feature's weight is how far it moves the log-odds of the stage against the
-- other stages, each by its probability; what was known before is the rest, so that the rows add up to the log-odds.
{% set names, relative = stage_names(), [] %}
{% for stage in stages() %}
    {% do relative.append("told.a_" ~ stage.name ~ " * " ~ mean_over_stage("weights.w_", stage)) %}
{% endfor %}
with
    told as (
        select
            children.user_id,
            children.child_no,
            children.month,
            children.stage,
            ln(greatest(children.probability, 1e-12) / greatest(1 - children.probability, 1e-12)) as log_odds,
            {% for name in names %}
                case
                    when children.stage = '{{ name }}'
                    then 1.0
                    else - children.p_{{ name }} / greatest(1 - children.probability, 1e-12)
                end as a_{{ name }},
            {% endfor %}
            models.tau * power(greatest(children.months_of_evidence, 1), - models.gamma) as strength,
            scored.model_version as scored_by
        from {{ ref("user_stages") }} as children
        inner join {{ ref("stage_models") }} as models on children.model_version = models.model_version
        left join
            {{ ref("stage_evidence") }} as scored on children.user_id = scored.user_id and children.month = scored.month
    ),
    met as (
        select features.user_id, features.feature, features.value
        from {{ ref("user_month_features") }} as features
        where features.month = (select max(month) from told)
        union all
        -- what being active at all says
        select distinct user_id, '' as feature, 1 as value
        from told
        where scored_by is not null
    ),
    weighed as (
        select
            told.user_id,
            told.child_no,
            met.feature,
            {{ exact("told.strength * met.value * (" ~ relative | join(" + ") ~ ")") }} as contribution
        from told
        inner join met on told.user_id = met.user_id
        inner join
            {{ ref("evidence_weights") }} as weights
            on told.scored_by = weights.model_version
            and met.feature = weights.feature
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
        group by user_id, child_no, case when place <= 5 then place else 6 end, case when place <= 5 then feature end
    ),
    with_memory as (
        select *
        from of_month
        union all
        select
            told.user_id,
            told.child_no,
            7 as place,
            cast(null as string) as feature,
            told.log_odds - coalesce(sums.contribution, 0) as contribution
        from told
        left join
            (
                select user_id, child_no, sum(contribution) as contribution from of_month group by user_id, child_no
            ) as sums
            on told.user_id = sums.user_id
            and told.child_no = sums.child_no
    ),
    taken_apart as (
        select
            *,
            instr(feature, '=') as at_sign,
            length(regexp_extract(feature, ':(collect|cart|purchase)$', 0)) as n_of_action
        from with_memory
    ),
    named as (
        select
            *,
            substr(feature, 1, at_sign - 1) as family,
            substr(feature, at_sign + 1, length(feature) - at_sign - n_of_action) as detail,
            substr(feature, length(feature) - n_of_action + 1) as action
        from taken_apart
    )
select
    named.user_id,
    named.child_no,
    told.month,
    told.stage,
    cast(named.place as integer) as place,
    case
        when named.place = 7
        then 'what was known before this month'
        when named.place = 6
        then 'everything else in this month'
        else
            coalesce(
                concat(
                    replace(words.words, '...', replace(named.detail, '|', ' ')),
                    case
                        named.action
                        when ':purchase'
                        then ', bought'
                        when ':cart'
                        then ', put into the cart'
                        when ':collect'
                        then ', collected'
                        else ''
                    end
                ),
                named.feature
            )
    end as reason,
    named.feature,
    named.contribution,
    told.log_odds
from named
inner join told on named.user_id = told.user_id and named.child_no = told.child_no
left join {{ ref("reason_words") }} as words on named.family = words.family
