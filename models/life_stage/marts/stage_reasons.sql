-- Reasons of the published stage, one row per user, child and rank: the registration, the five features of months that
-- speak most for it, the prior, and everything else. Their contributions sum to the log-odds of the stage.
with
    children as (
        select
            user_id,
            child_no,
            month,
            stage,
            stage_no,
            source,
            is_primary,
            ln(greatest(probability, 1e-12) / greatest(1 - probability, 1e-12)) as log_odds
        from {{ ref("user_stages") }}
    ),
    priors as (select user_id, child_no, contribution from {{ ref("stage_attributions") }} where rank = 0),
    -- What the registration adds to behaviour; of a further child, to the prior.
    behaviour as (
        select
            children.*,
            known.birth_date,
            {{ business_time("known.registered_at") }} as registered_at,
            case
                children.stage
                {% for stage in stage_names() %} when '{{ stage }}' then posteriors.p_{{ stage }} {% endfor %}
            end as probability
        from children
        inner join
            {{ ref("stg_children") }} as known
            on children.user_id = known.user_id
            and children.child_no = known.child_no
        inner join
            {{ ref("birth_month_filter") }} as posteriors
            on children.user_id = posteriors.user_id
            and children.month = posteriors.month
        where children.source <> 'inferred'
    ),
    registrations as (
        select
            behaviour.user_id,
            behaviour.child_no,
            -- No day: the marts have birth months.
            concat(
                'registered',
                coalesce(' in ' || {{ month_in_words("behaviour.registered_at") }}, ''),
                case
                    when behaviour.birth_date >= {{ months_after("behaviour.month", 1) }}
                    then ', due in '
                    else ', born in '
                end,
                {{ month_in_words("behaviour.birth_date") }}
            ) as reason,
            behaviour.log_odds - case
                when behaviour.is_primary
                then ln(greatest(behaviour.probability, 1e-6) / greatest(1 - behaviour.probability, 1e-6))
                else priors.contribution
            end as contribution
        from behaviour
        inner join priors on behaviour.user_id = priors.user_id and behaviour.child_no = priors.child_no
    ),
    found as (
        select
            attributions.user_id,
            attributions.child_no,
            case when attributions.rank = 0 then 'prior' else 'feature' end as kind,
            case
                when attributions.rank = 0
                then 'what is usual for shoppers'
                else
                    concat(
                        coalesce(words.reason, attributions.feature),
                        case
                            when attributions.n_days > 1 then concat(', on ', attributions.n_days, ' days') else ''
                        end,
                        ', ',
                        {{ month_in_words("attributions.month") }}
                    )
            end as reason,
            attributions.feature,
            attributions.month as feature_month,
            attributions.contribution
        from {{ ref("stage_attributions") }} as attributions
        left join {{ ref("reason_texts") }} as words on attributions.feature = words.feature
        union all
        select
            user_id,
            child_no,
            'registration' as kind,
            reason,
            cast(null as string) as feature,
            cast(null as date) as feature_month,
            contribution
        from registrations
    ),
    complete as (
        select *
        from found
        union all
        select
            children.user_id,
            children.child_no,
            'rest' as kind,
            'everything else' as reason,
            cast(null as string) as feature,
            cast(null as date) as feature_month,
            children.log_odds - coalesce(sums.contribution, 0) as contribution
        from children
        left join
            (select user_id, child_no, sum(contribution) as contribution from found group by user_id, child_no) as sums
            on children.user_id = sums.user_id
            and children.child_no = sums.child_no
    ),
    strongest as (
        select
            *,
            max(case when kind <> 'rest' then contribution end) over (partition by user_id, child_no) as strongest,
            sum(abs(contribution)) over (partition by user_id, child_no) as total
        from complete
    )
select
    reasons.user_id,
    reasons.child_no,
    children.month,
    children.stage_no,
    children.stage,
    cast(
        row_number() over (
            partition by reasons.user_id, reasons.child_no
            order by
                -- The rest is the first reason only if nothing else speaks for the stage.
                case when reasons.kind = 'rest' and reasons.strongest > 0 then 1 else 0 end,
                reasons.contribution desc,
                reasons.reason
        ) as integer
    ) as rank,
    reasons.kind,
    reasons.reason,
    reasons.feature,
    reasons.feature_month,
    reasons.contribution,
    reasons.contribution / nullif(reasons.total, 0) as share,
    children.log_odds
from strongest as reasons
inner join children on reasons.user_id = children.user_id and reasons.child_no = children.child_no
