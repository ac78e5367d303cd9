-- Stage history, one row per user, child and closed month, from behaviour and registrations up to that month.
{% set names, first, last = stage_names(), stages()[0], stages()[-1] %}
with
    families as (
        select user_id, min(child_no) as first_child_no, max(child_no) as last_child_no
        from {{ ref("stg_children") }}
        group by user_id
    ),
    -- The primary child explains most of the behaviour, so it is matched to the registered child. An inferred further
    -- child is published after it, unless several are registered.
    posteriors_with_registrations as (
        select
            posteriors.*,
            case
                when families.user_id is null
                then posteriors.child_no
                when posteriors.is_primary
                then coalesce(registered.child_no, families.first_child_no)
                else families.last_child_no + posteriors.child_no - 1
            end as published_child_no,
            registered.birth_date,
            registered.age_months,
            registered.birth_confirmed as registered_birth_confirmed,
            case
                when posteriors.is_primary then coalesce(registered.registration_probability, 0.0) else 0.0
            end as registration_weight,
            1 - posteriors.not_yet_expecting_probability - posteriors.graduated_probability as inside
        from {{ ref("stage_posteriors") }} as posteriors
        left join families on posteriors.user_id = families.user_id
        left join
            {{ ref("registered_births") }} as registered
            on posteriors.user_id = registered.user_id
            and posteriors.month = registered.month
            -- Without a stage before birth, a due date adds nothing to the primary child.
            and (not posteriors.is_primary or registered.age_months >= 0 or {{ first.from_month < 0 }})
        where
            posteriors.method = '{{ var("fusion_method") }}'
            and (posteriors.is_primary or coalesce(registered.n_known_children, 1) < 2)
    ),
    mixtures as (
        select
            *,
            {% for stage in stages() %}
                {{
                    mix_with_registration(
                        "age_months >= " ~ stage.from_month ~ " and age_months < " ~ stage.to_month,
                        "p_" ~ stage.name ~ " * inside",
                    )
                }} as s_{{ stage.name }},
            {% endfor %}
            {{ mix_with_registration("age_months < " ~ first.from_month, "not_yet_expecting_probability") }} as not_yet,
            {{ mix_with_registration("age_months >= " ~ last.to_month, "graduated_probability") }} as graduated
        from posteriors_with_registrations
    ),
    shares as (
        select
            *,
            {% for name in names %}
                coalesce(s_{{ name }} / nullif({{ sum_of("s_", names) }}, 0), p_{{ name }}) as q_{{ name }}
                {%- if not loop.last %},{% endif %}
            {% endfor %}
        from mixtures
    ),
    -- Ties go to the younger stage.
    named as (
        select
            *,
            {{ first_greatest("q_", names) }} as stage,
            greatest({% for name in names %}q_{{ name }} {%- if not loop.last %}, {% endif %} {% endfor %}) as top,
            case when registration_weight >= 0.5 then registered_birth_confirmed else birth_confirmed end as is_born
        from shares
    ),
    without_top_stage as (
        select
            *,
            {% for name in names %}
                case when stage = '{{ name }}' then 0.0 else q_{{ name }} end as r_{{ name }}
                {%- if not loop.last %},{% endif %}
            {% endfor %}
        from named
    )
select
    user_id,
    cast(published_child_no as integer) as child_no,
    is_primary,
    month,
    stage,
    top as probability,
    case when top >= 0.8 then 'high' when top >= 0.5 then 'medium' else 'low' end as confidence,
    {{ first_greatest("r_", names) }} as runner_up_stage,
    greatest(
        {% for name in names %}r_{{ name }} {%- if not loop.last %}, {% endif %} {% endfor %}
    ) as runner_up_probability,
    {% for name in names %} q_{{ name }} as p_{{ name }}, {% endfor %}
    not_yet as not_yet_expecting_probability,
    graduated as graduated_probability,
    {{ entropy("q_", names) }} as entropy,
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
    not_yet + graduated <= 0.5
    and months_of_evidence >= {{ var("min_evidence") }}
    and (is_born or stage in ({{ quoted(prenatal_stages()) }})) as is_in_stage,
    months_of_evidence,
    last_active_month,
    {{ months_between("month", "last_active_month") }} >= {{ var("stale_after_months") }} as is_stale,
    model_version,
    run_id
from without_top_stage
