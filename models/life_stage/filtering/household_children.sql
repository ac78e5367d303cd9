-- Children of each household, one row per user, child and month, from behaviour alone. The first child is that of
-- birth_month_filter; a further one is in another stage that probably has a child. A child keeps its number while its
-- birth month moves by less than half a stage. macros/recursive_monthly.sql runs this text for each pending month,
-- oldest first. Two thresholds, one to begin and a lower one to end, keep rows from flickering.
{{
    config(
        materialized="recursive_monthly",
        full_refresh=false,
        meta={"months": "months_with_household_stages", "state": "household_state"},
    )
}}
-- depends on: {{ ref("household_stages") }}
with
    households as (select * from {{ ref("household_stages") }} where month = {{ this_month() }}),
    probable as (
        {% for stage in stages() %}
            select
                user_id,
                first_stage = '{{ stage.name }}' as is_primary,
                '{{ stage.name }}' as stage,
                (1 - no_child_probability) * h_{{ stage.name }} as probability,
                case
                    when first_stage = '{{ stage.name }}'
                    then expected_birth_month
                    else {{ months_after("month", "- age_" ~ stage.name) }}
                end as birth_month,
                expected_birth_month
            from households
            where
                first_stage = '{{ stage.name }}'
                or (1 - no_child_probability) * h_{{ stage.name }} >= {{ setting("marts_min_probability") }}
            {% if not loop.last %}
                union all
            {% endif %}
        {% endfor %}
    ),
    -- Two births of a household lie at least nine months apart; twins are in one stage.
    candidates as (
        select user_id, is_primary, stage, probability, birth_month
        from probable
        where
            is_primary
            or expected_birth_month is null
            or abs({{ months_between("birth_month", "expected_birth_month") }}) >= {{ pregnancy_months() }}
    ),
    carried as (select * from {{ previous_state() }}),
    -- Each candidate and the carried child of the nearest birth month, one to one.
    distances as (
        select
            candidates.*,
            carried.child_no,
            abs({{ months_between("candidates.birth_month", "carried.birth_month") }}) as distance
        from candidates
        inner join carried on candidates.user_id = carried.user_id
        where {{ is_same_child("candidates.birth_month", "carried.birth_month", this_month()) }}
    ),
    pairs as (
        select
            user_id,
            stage,
            child_no,
            row_number() over (partition by user_id, stage order by distance, child_no) as rank_of_child,
            row_number() over (
                partition by user_id, child_no order by distance, case when is_primary then 0 else 1 end, stage
            ) as rank_of_candidate
        from distances
    ),
    matches as (select * from pairs where rank_of_child = 1 and rank_of_candidate = 1),
    numbers as (
        select user_id, max(child_no) as last_no, max(case when is_primary then child_no end) as primary_no
        from carried
        group by user_id
    ),
    -- Without a match, the first child is the one that was first before, unless that one is matched to another stage.
    first_children as (
        select
            candidates.*,
            coalesce(
                matches.child_no,
                case when others.child_no is null then numbers.primary_no end,
                coalesce(numbers.last_no, 0) + 1
            ) as child_no
        from candidates
        left join matches on candidates.user_id = matches.user_id and candidates.stage = matches.stage
        left join numbers on candidates.user_id = numbers.user_id
        left join matches as others on candidates.user_id = others.user_id and numbers.primary_no = others.child_no
        where candidates.is_primary
    ),
    further_children as (
        select
            candidates.*,
            matches.child_no,
            -- Not across a birth: the pregnancy may have been lost.
            coalesce(
                carried.is_published
                and (candidates.stage in ({{ quoted(prenatal_stages()) }}) or carried.birth_month < {{ this_month() }}),
                false
            ) as was_published,
            row_number() over (
                partition by candidates.user_id, matches.child_no is null
                order by candidates.probability desc, candidates.stage
            ) as rank
        from candidates
        left join matches on candidates.user_id = matches.user_id and candidates.stage = matches.stage
        left join carried on matches.user_id = carried.user_id and matches.child_no = carried.child_no
        where not candidates.is_primary
    ),
    -- Candidates within nine months of a child that is there.
    neighbours as (
        select distinct further_children.user_id, further_children.stage
        from further_children
        inner join matches on further_children.user_id = matches.user_id and further_children.stage <> matches.stage
        inner join carried on matches.user_id = carried.user_id and matches.child_no = carried.child_no
        where
            abs({{ months_between("carried.birth_month", "further_children.birth_month") }}) < {{ pregnancy_months() }}
    ),
    numbered as (
        select
            first_children.user_id,
            first_children.child_no,
            first_children.is_primary,
            first_children.probability >= {{ setting("marts_min_first_probability") }}
            or (
                first_children.probability >= {{ setting("marts_min_probability") }}
                and coalesce(carried.is_published, false)
            ) as is_published,
            first_children.stage,
            first_children.probability,
            first_children.birth_month
        from first_children
        left join carried on first_children.user_id = carried.user_id and first_children.child_no = carried.child_no
        union all
        -- At most one further child begins per month.
        select
            further_children.user_id,
            coalesce(
                further_children.child_no, greatest(coalesce(numbers.last_no, 0), first_children.child_no) + 1
            ) as child_no,
            false as is_primary,
            further_children.was_published
            or further_children.probability >= {{ setting("marts_min_further_probability") }} as is_published,
            further_children.stage,
            further_children.probability,
            further_children.birth_month
        from further_children
        inner join first_children on further_children.user_id = first_children.user_id
        left join numbers on further_children.user_id = numbers.user_id
        left join
            neighbours on further_children.user_id = neighbours.user_id and further_children.stage = neighbours.stage
        where
            further_children.child_no is not null
            or (
                further_children.rank = 1
                and further_children.probability >= {{ setting("marts_min_further_probability") }}
                and neighbours.user_id is null
            )
    )
select
    numbered.user_id,
    cast(numbered.child_no as integer) as child_no,
    {{ this_month() }} as month,
    numbered.is_primary,
    numbered.is_published,
    numbered.stage,
    cast(numbered.probability as float) as probability,
    coalesce(numbered.birth_month, carried.birth_month) as birth_month
from numbered
left join carried on numbered.user_id = carried.user_id and numbered.child_no = carried.child_no
union all
-- A child without evidence this month keeps its number until it has aged out.
select
    carried.user_id,
    carried.child_no,
    {{ this_month() }} as month,
    false as is_primary,
    false as is_published,
    cast(null as string) as stage,
    cast(0 as float) as probability,
    carried.birth_month
from carried
left join numbered on carried.user_id = numbered.user_id and carried.child_no = numbered.child_no
where
    numbered.user_id is null and {{ months_between(this_month(), "carried.birth_month") }} < {{ stages()[-1].to_month }}
