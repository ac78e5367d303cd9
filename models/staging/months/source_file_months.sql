-- Inventory of the action files, one row per file, version and month of its rows.
{{ config(meta={"always_built": true}) }}
{% set inventory = none if reads_tables() else load_relation(this) %}
with
    file_months as (
        select
            file,
            version,
            occurred_month,
            cast(sum(n_rows) as bigint) as n_rows,
            -- A row that counts for another month has no usable time.
            cast(
                sum(
                    case when reasons is not null or occurred_month is distinct from month then n_rows else 0 end
                ) as bigint
            ) as n_rejected,
            true as is_present,
            home_month,
            month
        from {{ ref("source_row_counts") }}
        group by file, version, occurred_month, home_month, month
    )
select file, version, occurred_month, n_rows, n_rejected, is_present, home_month, month
from file_months
{% if inventory %}
    union all
    -- Deleted files, and files overwritten with another month, stay in the inventory: their months are archived.
    select
        known.file,
        known.version,
        known.occurred_month,
        known.n_rows,
        known.n_rejected,
        false as is_present,
        known.home_month,
        known.month
    from {{ inventory }} as known
    left join
        (select distinct file, version from file_months) as same
        on known.file = same.file
        and known.version = same.version
    left join (select distinct file, home_month from file_months) as homes on known.file = homes.file
    where same.file is null and (homes.file is null or homes.home_month <> known.home_month or not known.is_present)
{% endif %}
