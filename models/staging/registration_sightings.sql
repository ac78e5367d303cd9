-- Registrations without a time, one row per user, child number and birth date, with the newest closed month of the run
-- that first saw them. They count from that month on, so that later runs leave earlier months as they are.
{{ config(meta={"always_built": true}) }}
{% set last_run = existing(this) %}
with
    newest as (select max(month) as month from {{ ref("month_calendar") }} where is_closed),
    registrations as (
        select distinct user_id, coalesce(registered_child_no, 0) as registered_child_no, birth_date
        from {{ ref("stg_child_rows") }}
        where registered_at is null and reason is null and not is_duplicate
    )
select registrations.*, coalesce(seen.first_seen_month, newest.month) as first_seen_month
from registrations
cross join newest
left join
    {% if last_run %} {{ last_run }}
    {% else %} (select *, cast(null as date) as first_seen_month from registrations)
    {% endif %} as seen
    on registrations.user_id = seen.user_id
    and registrations.registered_child_no = seen.registered_child_no
    and registrations.birth_date = seen.birth_date
