-- Stage history, one row per user, child and closed month, from behaviour and registrations up to that month.
-- macros/recursive_monthly.sql runs this text for the pending months alone, so that a later registration leaves earlier
-- months as they are.
{{
    config(
        materialized="recursive_monthly",
        meta={
            "months": "months_with_posterior",
            "state": "stage_run_state",
            "published": "c_is_published",
            "reads": {"household_weights": "never"},
        },
    )
}}
{% set names, first, last = stage_names(), stages()[0], stages()[-1] %}
{% set states = states_outside()[:2] + names + states_outside()[2:] %}
{% set outcome = ["expected_birth_month", "earliest_birth_month", "latest_birth_month", "months_until_next_stage"] %}
{% set of_household = ["no_child_probability", "last_active_month", "months_of_evidence", "model_version", "run_id"] %}
{% for name in names %} {% do of_household.append("h_" ~ name) %} {% endfor %}
with
    inferred as (
        select *
        from {{ ref("stage_posteriors") }}
        where method = '{{ setting("fusion_method") }}' and month in {{ pending_months() }}
    ),
    registered as (
        select *
        from {{ ref("registered_births") }}
        -- Without a stage before birth, a due date is no row.
        where month in {{ pending_months() }} and (age_months >= 0 or {{ first.from_month < 0 }})
    ),
    known as (
        select
            user_id,
            month,
            max(registration_probability) as registered_share,
            {% for name in names %}
                max(case when {{ stage_at("age_months") }} = '{{ name }}' then 1 else 0 end) as has_{{ name }}
                {%- if not loop.last %},{% endif %}
            {% endfor %}
        from {{ ref("registered_births") }}
        where month in {{ pending_months() }}
        group by user_id, month
    ),
    shares_registered_late as (
        select
            model_version
            {% for name in names %}, max(registered_late_{{ name }}) as registered_late_{{ name }} {% endfor %}
        from {{ ref("household_weights") }}
        group by model_version
    ),
    pairs as (
        select
            registered.user_id,
            registered.month,
            registered.child_no as registered_no,
            inferred.child_no as inferred_no,
            inferred.is_primary,
            coalesce(
                abs({{ months_between("registered.birth_date", "inferred.expected_birth_month") }}), 1000
            ) as distance,
            coalesce(
                {{
                    is_same_child(
                        month_of("registered.birth_date"), "inferred.expected_birth_month", "inferred.month"
                    )
                }},
                false
            ) as is_near
        from registered
        inner join inferred on registered.user_id = inferred.user_id and registered.month = inferred.month
    ),
    -- One to one: a registered child and the inferred one of the nearest birth month.
    ranked_pairs as (
        select
            *,
            row_number() over (
                partition by user_id, month, registered_no order by distance, inferred_no
            ) as rank_of_inferred,
            row_number() over (
                partition by user_id, month, inferred_no order by distance, registered_no
            ) as rank_of_registered
        from pairs
        where is_near
    ),
    near_matches as (
        select user_id, month, registered_no, inferred_no
        from ranked_pairs
        where rank_of_inferred = 1 and rank_of_registered = 1
    ),
    -- The first child explains most of the behaviour, so without a near one it is a registered child too.
    other_matches as (
        select
            pairs.user_id,
            pairs.month,
            pairs.registered_no,
            pairs.inferred_no,
            row_number() over (
                partition by pairs.user_id, pairs.month order by pairs.distance, pairs.registered_no
            ) as rank
        from pairs
        left join
            near_matches as taken
            on pairs.user_id = taken.user_id
            and pairs.month = taken.month
            and (pairs.registered_no = taken.registered_no or pairs.inferred_no = taken.inferred_no)
        where pairs.is_primary and taken.user_id is null
    ),
    matches as (
        select *
        from near_matches
        union all
        select user_id, month, registered_no, inferred_no
        from other_matches
        where rank = 1
    ),
    near_registered as (select distinct user_id, month, inferred_no from pairs where is_near),
    -- An inferred child keeps its number unless a registered one has it.
    children as (
        select
            inferred.user_id,
            inferred.month,
            coalesce(
                matches.registered_no,
                case when taken.child_no is null then inferred.child_no else 100 + inferred.child_no end
            ) as child_no,
            matches.registered_no,
            near_registered.user_id is not null as is_near_registered,
            inferred.is_primary,
            inferred.has_posterior,
            {% for name in names %} inferred.p_{{ name }}, {% endfor %}
            inferred.not_yet_expecting_probability,
            inferred.graduated_probability,
            {% for column in outcome + of_household %} inferred.{{ column }}, {% endfor %}
            inferred.birth_confirmed,
            inferred.is_published
        from inferred
        left join
            matches
            on inferred.user_id = matches.user_id
            and inferred.month = matches.month
            and inferred.child_no = matches.inferred_no
        left join
            registered as taken
            on inferred.user_id = taken.user_id
            and inferred.month = taken.month
            and inferred.child_no = taken.child_no
        left join
            near_registered
            on inferred.user_id = near_registered.user_id
            and inferred.month = near_registered.month
            and inferred.child_no = near_registered.inferred_no
        union all
        -- Of a registered child without a match, behaviour says nothing.
        select
            registered.user_id,
            registered.month,
            registered.child_no,
            registered.child_no as registered_no,
            true as is_near_registered,
            false as is_primary,
            false as has_posterior,
            {% for name in names %} cast(0 as double) as p_{{ name }}, {% endfor %}
            cast(0 as double) as not_yet_expecting_probability,
            cast(0 as double) as graduated_probability,
            {% for column in outcome[:3] %} cast(null as date) as {{ column }}, {% endfor %}
            cast(null as double) as {{ outcome[3] }},
            {% for column in of_household %} firsts.{{ column }}, {% endfor %}
            false as birth_confirmed,
            false as is_published
        from registered
        inner join inferred as firsts on registered.user_id = firsts.user_id and registered.month = firsts.month
        left join
            matches
            on registered.user_id = matches.user_id
            and registered.month = matches.month
            and registered.child_no = matches.registered_no
        where firsts.is_primary and matches.user_id is null
    ),
    with_registrations as (
        select
            children.*,
            registered.birth_date,
            registered.age_months,
            registered.birth_confirmed as registered_birth_confirmed,
            registered.n_known_children,
            coalesce(registered.registration_probability, cast(0 as double)) as registration_weight,
            coalesce(known.registered_share, cast(0 as double)) as registered_share,
            known.user_id is not null as has_registrations,
            -- Weight of behaviour alone: that the child's own registration is wrong, or all of the household's.
            1 - coalesce(registered.registration_probability, known.registered_share, 0) as behaviour_weight,
            1 - (1 - coalesce(known.registered_share, 0)) * children.no_child_probability as has_child,
            1 - children.no_child_probability as is_parent,
            -- Where the registrations are right, another child is there only if it is registered late.
            {% for name in names %}
                case
                    when children.is_near_registered or coalesce(known.has_{{ name }}, 1) = 1
                    then cast(0 as double)
                    else late.registered_late_{{ name }}
                end as late_{{ name }}
                {%- if not loop.last %},{% endif %}
            {% endfor %}
        from children
        left join
            registered
            on children.user_id = registered.user_id
            and children.month = registered.month
            and children.registered_no = registered.child_no
        left join known on children.user_id = known.user_id and children.month = known.month
        left join shares_registered_late as late on children.model_version = late.model_version
    ),
    -- Probability that the household has a child in the stage. Of another child than the registered ones, where the
    -- registrations are right: h u / (h u + 1 - h), with the share u of children that are registered late.
    households as (
        select
            *,
            {% for stage in stages() %}
                {% set h, late = "is_parent * h_" ~ stage.name, "late_" ~ stage.name %}
                case
                    when registered_no is not null
                    then
                        {{
                            mix_with_registration(
                                "age_months >= " ~ stage.from_month ~ " and age_months < " ~ stage.to_month, h
                            )
                        }}
                    else
                        {{ h }} * (
                            1
                            - registered_share
                            + registered_share * {{ late }} / greatest({{ h }} * {{ late }} + 1 - {{ h }}, 1e-12)
                        )
                end as household_{{ stage.name }},
            {% endfor %}
            1 - not_yet_expecting_probability - graduated_probability as inside
        from with_registrations
    ),
    -- The distribution of the child itself. A further child is in its stage, or it does not exist.
    mixtures as (
        select
            *,
            {% for stage in stages() %}
                {% set h = "is_parent * h_" ~ stage.name %}
                {% set own = (
                    "p_"
                    ~ stage.name
                    ~ " * is_parent * case when has_posterior then inside else h_"
                    ~ stage.name
                    ~ " end"
                ) %}
                case
                    when registered_no is not null
                    then
                        {{
                            mix_with_registration(
                                "age_months >= " ~ stage.from_month ~ " and age_months < " ~ stage.to_month, own
                            )
                        }}
                    else {{ own }} * household_{{ stage.name }} / greatest({{ h }}, 1e-12)
                end as s_{{ stage.name }},
            {% endfor %}
            registration_weight
            * case when age_months < {{ first.from_month }} then cast(1 as double) else cast(0 as double) end
            + behaviour_weight * is_parent * not_yet_expecting_probability as s_not_expecting,
            registration_weight
            * case when age_months >= {{ last.to_month }} then cast(1 as double) else cast(0 as double) end
            + behaviour_weight * is_parent * graduated_probability as s_aged_out
        from households
    ),
    complete as (
        select
            *,
            greatest(
                1 - ({% for state in states[1:] %}s_{{ state }} {%- if not loop.last %} + {% endif %} {% endfor %}), 0
            ) as s_no_child
        from mixtures
    ),
    rounded as (
        select * {% for state in states %}, round(s_{{ state }}, 6) as d_{{ state }} {% endfor %} from complete
    ),
    -- Ties go to the younger stage.
    named as (
        select
            *,
            {{ first_greatest("d_", names) }} as stage,
            {{ first_greatest("d_", states) }} as top_state,
            -- With several registered children, an inferred birth near the registered one confirms it.
            case
                when registration_weight >= 0.5
                then registered_birth_confirmed or (n_known_children > 1 and is_near_registered and birth_confirmed)
                else birth_confirmed
            end as is_born
        from rounded
    ),
    assigned as (
        select
            *,
            case
                stage {% for name in names %} when '{{ name }}' then round(household_{{ name }}, 6) {% endfor %}
            end as probability,
            {{ months_between("month", "last_active_month") }} >= {{ setting("marts_stale_after_months") }} as is_stale,
            coalesce(registration_weight >= 0.5 and {{ stage_at("age_months") }} = stage, false) as is_registered_stage
            {% for name in names %}
                , case when stage = '{{ name }}' then cast(-1 as double) else d_{{ name }} end as r_{{ name }}
            {% endfor %}
        from named
    ),
    probable as (
        select
            assigned.*,
            (
                is_published
                or registration_weight >= 0.5
                or (is_primary and probability >= {{ setting("marts_min_first_probability") }})
            )
            and probability >= case
                when has_registrations and registered_no is null
                then {{ setting("marts_min_further_probability") }}
                else {{ setting("marts_min_probability") }}
            end
            and {{ may_be_published("is_born") }}
            and implausible.user_id is null as is_probable
        from assigned
        left join
            (
                select user_id, min(month) as from_month from {{ ref("implausible_users") }} group by user_id
            ) as implausible
            on assigned.user_id = implausible.user_id
            and assigned.month >= implausible.from_month
    ),
    -- The row of the month before: of a pending month, or carried.
    neighbours as (
        select
            probable.*,
            case
                when row_number() over by_month = 1
                then carried.c_stage
                else lag(case when probable.is_probable then probable.stage end) over by_month
            end as stage_before,
            case
                when row_number() over by_month = 1 then carried.month else lag(probable.month) over by_month
            end as month_before,
            carried.c_since_month as carried_since_month
        from probable
        left join
            {{ previous_state() }} as carried
            on probable.user_id = carried.user_id
            and probable.child_no = carried.child_no
        window by_month as (partition by probable.user_id, probable.child_no order by probable.month)
    ),
    -- The beginning of each run of months in the same stage.
    runs as (
        select
            *,
            coalesce(
                max(
                    case
                        when coalesce(stage_before = stage and month_before = {{ months_after("month", -1) }}, false)
                        then null
                        else month
                    end
                ) over (partition by user_id, child_no order by month),
                carried_since_month
            ) as run_since_month
        from neighbours
    ),
    -- No inferred stage is published for longer than it lasts.
    limited as (
        select
            *,
            is_probable
            and (
                is_registered_stage
                or {{ months_between("month", "run_since_month") }} < case
                    stage
                    {% for stage in stages() %}
                        when '{{ stage.name }}' then {{ stage.to_month - stage.from_month }}
                    {% endfor %}
                end
            ) as is_in_stage,
            greatest(
                {% for name in names %}r_{{ name }} {%- if not loop.last %}, {% endif %} {% endfor %}
            ) as runner_up_probability
        from runs
    )
select
    user_id,
    cast(child_no as integer) as child_no,
    is_primary,
    month,
    stage,
    case stage {% for name in names %} when '{{ name }}' then {{ loop.index }} {% endfor %} end as stage_no,
    probability,
    {{ confidence("probability", "is_stale") }} as confidence,
    case
        when not is_registered_stage
        then 'inferred'
        when is_published and stage = {{ first_greatest("p_", names) }}
        then 'both'
        else 'registered'
    end as source,
    case when runner_up_probability > 0 then {{ first_greatest("r_", names) }} end as runner_up_stage,
    case when runner_up_probability > 0 then runner_up_probability end as runner_up_probability,
    -- The largest share makes the rounded ones sum to 1.
    {% for state in states %}
        case
            when top_state = '{{ state }}'
            then
                round(
                    1 - (
                        {% for other in states if other != state %}
                            d_{{ other }} {%- if not loop.last %} + {% endif %}
                        {% endfor %}
                    ),
                    6
                )
            else d_{{ state }}
        end as p_{{ state }},
    {% endfor %}
    round(1 - has_child, 6) as no_child_probability,
    cast(count(case when is_in_stage then 1 end) over (partition by user_id, month) as integer) as n_children,
    round({{ entropy("d_", states) }}, 6) as entropy,
    case
        when registration_weight >= 0.5 then {{ month_of("birth_date") }} else expected_birth_month
    end as expected_birth_month,
    -- A birthday with 80 % weight is the 80 % interval by itself.
    case
        when registration_weight >= 0.8
        then {{ month_of("birth_date") }}
        when registration_weight >= 0.5
        then least(earliest_birth_month, {{ month_of("birth_date") }})
        else earliest_birth_month
    end as earliest_birth_month,
    case
        when registration_weight >= 0.8
        then {{ month_of("birth_date") }}
        when registration_weight >= 0.5
        then greatest(latest_birth_month, {{ month_of("birth_date") }})
        else latest_birth_month
    end as latest_birth_month,
    case
        {% for stage in stages() %}
            when
                registration_weight >= 0.5
                and age_months >= {{ stage.from_month }}
                and age_months < {{ stage.to_month }}
            then {{ stage.to_month }} - age_months
        {% endfor %}
        else months_until_next_stage
    end as months_until_next_stage,
    is_born as birth_confirmed,
    is_in_stage,
    case when is_in_stage then run_since_month end as since_month,
    months_of_evidence,
    last_active_month,
    is_stale,
    model_version,
    run_id,
    has_posterior or registered_no is not null or is_in_stage as c_is_published,
    case when is_probable then stage end as c_stage,
    run_since_month as c_since_month
from limited
