-- Stage history, one row per user, child and closed month, from behaviour and registrations up to that month.
{% set names, first, last = stage_names(), stages()[0], stages()[-1] %}
{% set states = states_outside()[:2] + names + states_outside()[2:] %}
with
    known as (
        select
            user_id,
            month,
            max(child_no) as last_child_no,
            {% for name in names %}
                max(case when {{ stage_at("age_months") }} = '{{ name }}' then 1 else 0 end) as has_{{ name }}
                {%- if not loop.last %},{% endif %}
            {% endfor %}
        from {{ ref("registered_births") }}
        group by user_id, month
    ),
    shares_registered_late as (
        select
            model_version
            {% for name in names %}, max(registered_late_{{ name }}) as registered_late_{{ name }} {% endfor %}
        from {{ ref("household_weights") }}
        group by model_version
    ),
    -- The primary child explains most of the behaviour, so it is matched to the registered child. An inferred child
    -- keeps its number unless a registered one has it.
    posteriors_with_registrations as (
        select
            posteriors.*,
            case
                when registered.child_no is not null
                then registered.child_no
                when taken.child_no is null
                then posteriors.child_no
                else
                    posteriors.child_no + greatest(
                        known.last_child_no,
                        max(posteriors.child_no) over (partition by posteriors.user_id, posteriors.month)
                    )
            end as published_child_no,
            registered.birth_date,
            registered.age_months,
            registered.birth_confirmed as registered_birth_confirmed,
            coalesce(registered.registration_probability, cast(0 as double)) as registration_weight,
            case
                when known.user_id is null then 1 - posteriors.no_child_probability else cast(1 as double)
            end as has_child,
            -- In a family with registrations, another child is not registered only if its registration is late.
            case
                when known.user_id is null or posteriors.has_posterior
                then cast(1 as double)
                {% for name in names %}
                    when posteriors.p_{{ name }} = 1 and known.has_{{ name }} = 1
                    then cast(0 as double)
                    when posteriors.p_{{ name }} = 1
                    then late.registered_late_{{ name }}
                {% endfor %}
            end as unregistered_share
        from {{ ref("stage_posteriors") }} as posteriors
        left join known on posteriors.user_id = known.user_id and posteriors.month = known.month
        left join shares_registered_late as late on posteriors.model_version = late.model_version
        left join
            {{ ref("registered_births") }} as registered
            on posteriors.user_id = registered.user_id
            and posteriors.month = registered.month
            and posteriors.is_primary
            -- Without a stage before birth, a due date adds nothing to the primary child.
            and (registered.age_months >= 0 or {{ first.from_month < 0 }})
        left join
            {{ ref("registered_births") }} as taken
            on posteriors.user_id = taken.user_id
            and posteriors.month = taken.month
            and posteriors.child_no = taken.child_no
        where posteriors.method = '{{ var("fusion_method") }}'
    ),
    households as (
        select
            *,
            {% for stage in stages() %}
                {% set h = "has_child * h_" ~ stage.name %}
                case
                    when has_posterior
                    then
                        {{
                            mix_with_registration(
                                "age_months >= " ~ stage.from_month ~ " and age_months < " ~ stage.to_month, h
                            )
                        }}
                    else {{ h }} * unregistered_share / greatest({{ h }} * unregistered_share + 1 - {{ h }}, 1e-12)
                end as household_{{ stage.name }},
            {% endfor %}
            1 - not_yet_expecting_probability - graduated_probability as inside
        from posteriors_with_registrations
    ),
    -- The distribution of a further child: it is in its stage, or it does not exist.
    mixtures as (
        select
            *,
            {% for stage in stages() %}
                case
                    when has_posterior
                    then
                        {{
                            mix_with_registration(
                                "age_months >= " ~ stage.from_month ~ " and age_months < " ~ stage.to_month,
                                "has_child * inside * p_" ~ stage.name,
                            )
                        }}
                    else p_{{ stage.name }} * household_{{ stage.name }}
                end as s_{{ stage.name }},
            {% endfor %}
            case
                when has_posterior
                then (1 - registration_weight) * (1 - has_child)
                else
                    1 - (
                        {% for name in names %}
                            p_{{ name }} * household_{{ name }} {%- if not loop.last %} + {% endif %}
                        {% endfor %}
                    )
            end as s_no_child,
            {{ mix_with_registration("age_months < " ~ first.from_month, "has_child * not_yet_expecting_probability") }}
            as s_not_expecting,
            {{ mix_with_registration("age_months >= " ~ last.to_month, "has_child * graduated_probability") }}
            as s_aged_out
        from households
    ),
    rounded as (
        select * {% for state in states %}, round(s_{{ state }}, 6) as d_{{ state }} {% endfor %} from mixtures
    ),
    -- Ties go to the younger stage.
    named as (
        select
            *,
            {{ first_greatest("d_", names) }} as stage,
            {{ first_greatest("d_", states) }} as top_state,
            case when registration_weight >= 0.5 then registered_birth_confirmed else birth_confirmed end as is_born
        from rounded
    ),
    assigned as (
        select
            *,
            case
                stage {% for name in names %} when '{{ name }}' then round(household_{{ name }}, 6) {% endfor %}
            end as probability,
            {{ months_between("month", "last_active_month") }} >= {{ var("stale_after_months") }} as is_stale,
            coalesce({{ stage_at("age_months") }} = stage, false) as is_registered_stage
            {% for name in names %}
                , case when stage = '{{ name }}' then cast(-1 as double) else d_{{ name }} end as r_{{ name }}
            {% endfor %}
        from named
    ),
    probable as (
        select
            *,
            (
                is_published
                or registration_weight >= 0.5
                or (is_primary and probability >= {{ var("min_first_probability") }})
            )
            and probability >= {{ var("min_probability") }}
            and {{ may_be_published("is_born") }} as is_probable
        from assigned
    ),
    neighbours as (
        select
            *,
            lag(case when is_probable then stage end) over (
                partition by user_id, published_child_no order by month
            ) as stage_before,
            lag(month) over (partition by user_id, published_child_no order by month) as month_before
        from probable
    ),
    runs as (
        select
            *,
            max(
                case
                    when coalesce(stage_before = stage and month_before = {{ months_after("month", -1) }}, false)
                    then null
                    else month
                end
            ) over (partition by user_id, published_child_no order by month) as since_month
        from neighbours
    ),
    -- No stage is published for longer than it lasts.
    limited as (
        select
            *,
            is_probable
            and {{ months_between("month", "since_month") }} < case
                stage
                {% for stage in stages() %}
                    when '{{ stage.name }}' then {{ stage.to_month - stage.from_month }}
                {% endfor %}
            end as is_in_stage
        from runs
    )
select
    user_id,
    cast(published_child_no as integer) as child_no,
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
    {{ first_greatest("r_", names) }} as runner_up_stage,
    greatest(
        {% for name in names %}r_{{ name }} {%- if not loop.last %}, {% endif %} {% endfor %}
    ) as runner_up_probability,
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
    {{ entropy("d_", states) }} as entropy,
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
    since_month,
    months_of_evidence,
    last_active_month,
    is_stale,
    model_version,
    run_id
from limited
where has_posterior or is_in_stage
