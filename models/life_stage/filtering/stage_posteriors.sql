-- Stage posteriors of all methods in one shape, one row per method, user, child and month. Marts read one method,
-- evaluation compares all.
{{ config(materialized="view") }}
{% set outcome = ["expected_birth_month", "earliest_birth_month", "latest_birth_month", "months_until_next_stage"] %}
select
    'birth_month_filter' as method,
    user_id,
    1 as child_no,
    true as is_primary,
    month,
    last_active_month,
    months_of_evidence,
    months_of_evidence as n_fusions,
    {% for name in stage_names() %} p_{{ name }}, {% endfor %}
    not_yet_expecting_probability,
    graduated_probability,
    {{ outcome | join(", ") }},
    birth_confirmed,
    model_version,
    run_id
from {{ ref("birth_month_filter") }}
union all
select
    'birth_month_filter' as method,
    pairs.user_id,
    2 as child_no,
    false as is_primary,
    pairs.month,
    firsts.last_active_month,
    firsts.months_of_evidence,
    firsts.months_of_evidence as n_fusions,
    {% for name in stage_names() %} pairs.p_{{ name }}, {% endfor %}
    0.0 as not_yet_expecting_probability,
    0.0 as graduated_probability,
    pairs.{{ outcome | join(", pairs.") }},
    {{ first_greatest("pairs.p_", stage_names()) }} not in ({{ quoted(prenatal_stages()) }}) as birth_confirmed,
    firsts.model_version,
    firsts.run_id
from {{ ref("pair_filter") }} as pairs
inner join {{ ref("second_child_thresholds") }} as thresholds on pairs.month = thresholds.month
inner join {{ ref("birth_month_filter") }} as firsts on pairs.user_id = firsts.user_id and pairs.month = firsts.month
where pairs.log_odds > thresholds.threshold
union all
select
    'dynamic_fusion' as method,
    tracks.user_id,
    case when tracks.rank = 1 then 1 else 1 + tracks.track_no end as child_no,
    tracks.rank = 1 as is_primary,
    tracks.month,
    activity.last_active_month,
    activity.months_of_evidence,
    tracks.n_fusions,
    {% for name in stage_names() %} tracks.p_{{ name }}, {% endfor %}
    0.0 as not_yet_expecting_probability,
    tracks.graduated_probability,
    cast(null as date) as expected_birth_month,
    cast(null as date) as earliest_birth_month,
    cast(null as date) as latest_birth_month,
    cast(null as double) as months_until_next_stage,
    tracks.birth_confirmed,
    tracks.model_version,
    tracks.run_id
from {{ ref("dynamic_fusion") }} as tracks
inner join
    {{ ref("birth_month_filter") }} as activity on tracks.user_id = activity.user_id and tracks.month = activity.month
-- A track of a single month is no further child.
where tracks.rank = 1 or tracks.n_fusions >= 2
