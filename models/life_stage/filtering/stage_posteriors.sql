-- Stage posteriors of all methods in one shape, one row per method, user, child and month. Marts read one method,
-- evaluation compares all.
{{ config(materialized="view") }}
{% set outcome = ["earliest_birth_month", "latest_birth_month", "months_until_next_stage"] %}
{% set prenatal = quoted(prenatal_stages()) %}
select
    'birth_month_filter' as method,
    children.user_id,
    children.child_no,
    children.is_primary,
    children.is_primary as has_posterior,
    children.month,
    posteriors.last_active_month,
    posteriors.months_of_evidence,
    posteriors.months_of_evidence as n_fusions,
    -- A further child has no posterior of its own: it is in its stage, or it does not exist.
    {% for name in stage_names() %}
        case
            when children.is_primary
            then posteriors.p_{{ name }}
            when children.stage = '{{ name }}'
            then cast(1 as double)
            else cast(0 as double)
        end as p_{{ name }},
        cast(households.h_{{ name }} as double) as h_{{ name }},
    {% endfor %}
    case
        when children.is_primary then posteriors.not_yet_expecting_probability else cast(0 as double)
    end as not_yet_expecting_probability,
    case
        when children.is_primary then posteriors.graduated_probability else cast(0 as double)
    end as graduated_probability,
    cast(households.no_child_probability as double) as no_child_probability,
    case
        when children.is_primary then posteriors.expected_birth_month else children.birth_month
    end as expected_birth_month,
    {% for column in outcome %}
        case when children.is_primary then posteriors.{{ column }} end as {{ column }},
    {% endfor %}
    case
        when children.is_primary then posteriors.birth_confirmed else children.stage not in ({{ prenatal }})
    end as birth_confirmed,
    children.is_published,
    posteriors.model_version,
    posteriors.run_id
from {{ ref("household_children") }} as children
inner join
    {{ ref("birth_month_filter") }} as posteriors
    on children.user_id = posteriors.user_id
    and children.month = posteriors.month
inner join
    {{ ref("household_stages") }} as households
    on children.user_id = households.user_id
    and children.month = households.month
where children.is_primary or children.is_published
union all
select
    'dynamic_fusion' as method,
    tracks.user_id,
    case when tracks.rank = 1 then 1 else 1 + tracks.track_no end as child_no,
    tracks.rank = 1 as is_primary,
    true as has_posterior,
    tracks.month,
    activity.last_active_month,
    activity.months_of_evidence,
    tracks.n_fusions,
    {% for name in stage_names() %}
        tracks.p_{{ name }}, tracks.p_{{ name }} * (1 - tracks.graduated_probability) as h_{{ name }},
    {% endfor %}
    cast(0 as double) as not_yet_expecting_probability,
    tracks.graduated_probability,
    cast(0 as double) as no_child_probability,
    cast(null as date) as expected_birth_month,
    cast(null as date) as earliest_birth_month,
    cast(null as date) as latest_birth_month,
    cast(null as double) as months_until_next_stage,
    tracks.birth_confirmed,
    true as is_published,
    tracks.model_version,
    tracks.run_id
from {{ ref("dynamic_fusion") }} as tracks
inner join
    {{ ref("birth_month_filter") }} as activity on tracks.user_id = activity.user_id and tracks.month = activity.month
-- A track of a single month is no further child.
where tracks.rank = 1 or tracks.n_fusions >= 2
