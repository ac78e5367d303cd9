-- Inventory of the action files, one row per file, version and month of its rows. A run reads only new or changed
-- files, detected by size and modification time; a source table has neither and is read by every run. The run fails if
-- more than rejections_max_share of a new file would be rejected. Items and children are checked first.
{{ config(meta={"always_built": true}) }}
-- depends_on: {{ ref("stg_child_rows") }} {{ ref("stg_item_rows") }}
{% set from_tables = setting("source_schema") != "" %}
{% set files = source_files("actions") if execute and not from_tables else [] %}
{% set unread = files_to_read("actions", files) if execute else [] %}
{% set delivered_contents = [
    "action_id",
    "user_id",
    "raw_occurred_at",
    "raw_action",
    "item_id",
    "search_term",
    "raw_quantity",
] %}
{% set inventory = load_relation(this) if not from_tables else none %}
{% set this_calendar_month = month_of(business_time(clock())) %}
{% set columns = contract_columns("actions") | map(attribute="name") if execute else [] %}
with
    dated as (
        select {{ columns | join(", ") }}, source_file, {{ moment("occurred_at") }} as utc_time
        from ({{ source_rows("actions", unread) }}) as source_rows
    ),
    typed as (
        -- No pseudonyms: users are only counted.
        select {{ typed_action_columns(id_of("raw_actions.user_id")) }}
        from dated as raw_actions
        left join {{ ref("action_synonyms") }} as synonyms on lower(trim(raw_actions.action)) = synonyms.word
    ),
    validated as (
        select
            *,
            case
                when occurred_at >= timestamp '2000-01-01' then {{ month_of(business_time("occurred_at")) }}
            end as occurred_month,
            {{ action_rejection_reasons() }} as reasons
        from typed
    ),
    months_read as (
        select
            source_file as file,
            occurred_month,
            count(*) as n_rows,
            count(reasons) as n_rejected,
            max(reasons) as a_reason,
            {{ order_free_hash(delivered_contents) if from_tables else "''" }} as content_hash
        from validated
        group by source_file, occurred_month
    ),
    file_months as (
        {% if from_tables %}
            select
                file,
                concat(content_hash, ' {{ validation_rules() }}') as version,
                occurred_month,
                n_rows,
                n_rejected,
                a_reason
            from months_read
        {% else %}
            select months_read.file, listed.version, occurred_month, n_rows, n_rejected, a_reason
            from months_read
            inner join ({{ versions_of(unread) }}) as listed on months_read.file = listed.file
            {% if inventory %}
                union all
                select known.file, known.version, occurred_month, n_rows, n_rejected, cast(null as string) as a_reason
                from {{ inventory }} as known
                inner join
                    ({{ versions_of(files) }}) as listed on known.file = listed.file and known.version = listed.version
            {% endif %}
        {% endif %}
    ),
    busiest_months as (
        select file, occurred_month, row_number() over (partition by file order by n_rows desc, occurred_month) as rank
        from file_months
        where occurred_month <= {{ this_calendar_month }}
    ),
    -- A row without a usable time counts for the most frequent month of its file, else for the folder's month.
    home_months as (
        select
            files.file,
            coalesce(
                busiest_months.occurred_month,
                try_cast(concat(nullif(regexp_extract(files.file, 'month=([0-9]{4}-[0-9]{2})', 1), ''), '-01') as date),
                date '1970-01-01'
            ) as home_month
        from (select distinct file from file_months) as files
        left join busiest_months on files.file = busiest_months.file and busiest_months.rank = 1
    ),
    rows_by_month as (
        select
            file_months.*,
            home_months.home_month,
            case
                when file_months.occurred_month <= {{ this_calendar_month }}
                then file_months.occurred_month
                else home_months.home_month
            end as month
        from file_months
        inner join home_months on file_months.file = home_months.file
    ),
    -- Only months read by this run: earlier ones passed this check before.
    months_delivered as (
        select month, sum(n_rows) as n_rows, sum(n_rejected) as n_rejected, max(a_reason) as a_reason
        from rows_by_month
        group by month
        having max(a_reason) is not null
    )
select
    rows_by_month.file,
    rows_by_month.version,
    rows_by_month.occurred_month,
    rows_by_month.n_rows,
    {{
        fail_if_too_many_rejected(
            "rows_by_month.n_rejected",
            "'actions in ', left(cast(delivered.month as string), 7)",
            "delivered.n_rejected",
            "delivered.n_rows",
            "delivered.a_reason",
        )
    }} as n_rejected,
    true as is_present,
    rows_by_month.home_month,
    rows_by_month.month
from rows_by_month
left join months_delivered as delivered on rows_by_month.month = delivered.month
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
    left join home_months on known.file = home_months.file
    where
        same.file is null
        and (home_months.file is null or home_months.home_month <> known.home_month or not known.is_present)
{% endif %}
