-- Dynamic fusion, the published method, one row per user, track and month: up to three tracks, each the running mean of
-- its matching months. macros/recursive_monthly.sql runs this text for each pending month, oldest first; more than two
-- months on DuckDB are computed by the same formulas in python/life_stage/filtering/fusion_pass.py. A track is stored
-- as
-- of its last match and shifted from there: a shift spreads a stage's mass evenly, so two shifts differ from one.
{{
    config(
        materialized="recursive_monthly",
        full_refresh=false,
        meta={"months": "months_to_fuse", "state": "fusion_tracks", "pass": "fusion_pass"},
    )
}}
-- depends_on: {{ ref("month_model_assignments") }} {{ ref("month_calendar") }}
{% set names, last = stage_names(), stages()[-1] %}
{% set delta = months_between(this_month(), "matched_month") %}
with
    stage_masses as (
        select
            user_id
            {% for stage in stages() %}
                , cast({{ stage_mass("bin_", stage) }} as double) as m_{{ stage.name }}
            {% endfor %}
        from {{ ref("stage_scores") }}
        where month = {{ this_month() }}
    ),
    distributions as (
        select user_id {% for name in names %}, m_{{ name }} / ({{ sum_of("m_", names) }}) as p_{{ name }} {% endfor %}
        from stage_masses
    ),
    months_alone as (select *, {{ first_greatest("p_", names, 12) }} as month_stage from distributions),
    -- Equation 1: all tracks shifted to this month, matched or not.
    shifted as (
        select
            *,
            {% for stage in stages() %}
                {{ shifted_mass(stage.from_month, stage.to_month, "c_", delta) }} as s_{{ stage.name }},
            {% endfor %}
            c_graduated + {{ shifted_mass(last.to_month, 100000, "c_", delta) }} as s_graduated
        from {{ previous_state() }} as tracks
    ),
    tracks_before as (select *, {{ first_greatest("s_", names + ["graduated"], 12) }} as track_stage from shifted),
    -- Among several matching tracks, the one with most fusions is merged.
    matching_tracks as (
        select
            tracks_before.user_id,
            tracks_before.track_no,
            row_number() over (
                partition by tracks_before.user_id order by n_fusions desc, matched_month desc, first_month, track_no
            ) as rank
        from tracks_before
        inner join
            months_alone
            on tracks_before.user_id = months_alone.user_id
            and tracks_before.track_stage = months_alone.month_stage
    ),
    compared as (
        select
            tracks_before.*,
            {% for name in names %} months_alone.p_{{ name }}, {% endfor %}
            matching_tracks.track_no is not null as is_match
        from tracks_before
        left join months_alone on tracks_before.user_id = months_alone.user_id
        left join
            matching_tracks
            on tracks_before.user_id = matching_tracks.user_id
            and tracks_before.track_no = matching_tracks.track_no
            and matching_tracks.rank = 1
    ),
    -- Equation 2: the matched track and the month.
    fused as (
        select
            *,
            {% for name in names %}
                {{ merged(name, setting("fusion_merge")) }} as f_{{ name }} {%- if not loop.last %},{% endif %}
            {% endfor %}
        from compared
    ),
    -- Equation 3. A merge drops the graduated share: the month's distribution covers stages only.
    tracks_after as (
        select
            user_id,
            track_no,
            first_month,
            case when is_match then {{ this_month() }} else matched_month end as matched_month,
            n_fusions + case when is_match then 1 else 0 end as n_fusions,
            c_n_tracks_ever,
            {% for name in names %}
                case
                    when is_match then f_{{ name }} / ({{ sum_of("f_", names) }}) else s_{{ name }}
                end as s_{{ name }},
                case
                    when is_match then f_{{ name }} / ({{ sum_of("f_", names) }}) else c_{{ name }}
                end as c_{{ name }},
            {% endfor %}
            case when is_match then cast(0 as double) else s_graduated end as s_graduated,
            case when is_match then cast(0 as double) else c_graduated end as c_graduated
        from fused
        union all
        -- A month without a matching track starts one.
        select
            months_alone.user_id,
            coalesce(known.n_tracks_ever, 0) + 1 as track_no,
            {{ this_month() }} as first_month,
            {{ this_month() }} as matched_month,
            1 as n_fusions,
            coalesce(known.n_tracks_ever, 0) + 1 as c_n_tracks_ever,
            {% for name in names %}
                months_alone.p_{{ name }} as s_{{ name }}, months_alone.p_{{ name }} as c_{{ name }},
            {% endfor %}
            0.0 as s_graduated,
            0.0 as c_graduated
        from months_alone
        left join
            (
                select
                    user_id,
                    max(c_n_tracks_ever) as n_tracks_ever,
                    max(case when is_match then 1 else 0 end) as n_matches
                from compared
                group by user_id
            ) as known
            on months_alone.user_id = known.user_id
        where coalesce(known.n_matches, 0) = 0
    ),
    ranked_tracks as (
        select
            tracks_after.*,
            max(c_n_tracks_ever) over (partition by user_id) as n_tracks_ever,
            -- Fusions are discounted with time.
            row_number() over (
                partition by user_id
                order by round(n_fusions * power(0.7, {{ delta }}), 12) desc, matched_month desc, first_month, track_no
            ) as rank
        from tracks_after
    ),
    retained as (select *, {{ sum_of("s_", names) }} as in_stages from ranked_tracks where rank <= 3)
select
    user_id,
    track_no,
    {{ this_month() }} as month,
    cast(rank as integer) as rank,
    first_month,
    matched_month,
    cast(n_fusions as integer) as n_fusions,
    {% for name in names %}
        -- A fully graduated track is assigned the last stage.
        case
            when in_stages > 0 then round(s_{{ name }} / in_stages, 6) else {{ "1.0" if name == last.name else "0.0" }}
        end as p_{{ name }},
    {% endfor %}
    round(s_graduated, 6) as graduated_probability,
    -- As of the last merge: elapsed time confirms no birth.
    {{ first_greatest("c_", names, 12) }} not in ({{ quoted(prenatal_stages()) }}) as birth_confirmed,
    '__model_version__' as model_version,
    '{{ invocation_id }}' as run_id,
    cast(n_tracks_ever as integer) as c_n_tracks_ever,
    c_graduated,
    {% for name in names %} c_{{ name }} {%- if not loop.last %},{% endif %} {% endfor %}
from retained
