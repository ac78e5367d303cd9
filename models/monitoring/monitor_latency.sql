-- Latency of recommendations from the optional request log, one row per model and day.
-- depends_on: {{ source_table("requests") }}
with
    requests as (
        select
            trim(model) as model,
            cast({{ business_time(moment("requested_at")) }} as date) as requested_on,
            try_cast(milliseconds as double) as milliseconds,
            try_cast(n_candidates as double) as n_candidates,
            try_cast(n_shown as double) as n_shown
        from ({{ source_rows("requests") }}) as raw_requests
    ),
    checked as (
        select
            *,
            coalesce(
                milliseconds - milliseconds = 0 and milliseconds >= 0 and n_candidates >= 0 and n_shown >= 0, false
            ) as is_usable
        from requests
    )
select
    coalesce(model, 'unknown') as model,
    coalesce(requested_on, date '1970-01-01') as requested_on,
    count(case when is_usable then 1 end) as n_requests,
    count(case when not is_usable then 1 end) as n_unusable,
    {% for share, name in [(0.5, "p50_ms"), (0.95, "p95_ms"), (0.99, "p99_ms")] %}
        {{ order_statistic("case when is_usable then milliseconds end", share) }} as {{ name }},
    {% endfor %}
    avg(case when is_usable then n_candidates end) as mean_candidates,
    avg(case when is_usable then n_shown end) as mean_shown
from checked
group by coalesce(model, 'unknown'), coalesce(requested_on, date '1970-01-01')
