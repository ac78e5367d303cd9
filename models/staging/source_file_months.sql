-- Which file of the actions holds rows of which month, so that a run reads only what is new and every month knows its
-- files.
-- A file is read again only when its size or time changed; a source table has no such sign and is read every time.
-- Files that have left the source stay on record.
{% set from_tables = var("source_schema") != "" %}
{% set files = source_files("actions") if execute and not from_tables else [] %}
{% set unread = files_to_read("actions", files) if execute else [] %}
{% set inventory = load_relation(this) %}
{% set occurred_at = utc_timestamp("raw_actions.occurred_at") %}
with
    rows_read as (
        select
            raw_actions.source_file as file,
            case
                when {{ occurred_at }} >= timestamp '2000-01-01' then {{ month_of(business_time(occurred_at)) }}
            end as occurred_month,
            {% if from_tables %} raw_actions.* {% endif %}
        from ({{ source_rows("actions", unread) }}) as raw_actions
    ),
    months_read as (
        select
            file,
            occurred_month,
            count(*) as n_rows,
            {{
                (
                    order_free_hash(
                        ["action_id", "user_id", "occurred_at", "action", "item_id", "search_term", "quantity"]
                    )
                    if from_tables
                    else "''"
                )
            }} as contents
        from rows_read
        group by file, occurred_month
    ),
    file_months as (
        {% if from_tables %}
            select file, contents as version, occurred_month, n_rows, true as is_present from months_read
        {% else %}
            select months_read.file, listed.version, months_read.occurred_month, months_read.n_rows, true as is_present
            from months_read
            inner join ({{ file_versions(unread) }}) as listed on months_read.file = listed.file
            {% if inventory %}
                union all
                select file, version, occurred_month, n_rows, file in ({{ quoted(files) }}) as is_present
                from {{ inventory }}
                where file not in ({{ quoted(unread or [""]) }})
            {% endif %}
        {% endif %}
    ),
    -- A row without a usable time counts for the month that most rows of its file belong to.
    home_months as (
        select
            file,
            occurred_month as home_month,
            row_number() over (partition by file order by n_rows desc, occurred_month) as rank
        from file_months
        where occurred_month <= {{ month_of(business_time(clock())) }}
    )
select
    file_months.file,
    file_months.version,
    file_months.occurred_month,
    file_months.n_rows,
    file_months.is_present,
    coalesce(home_months.home_month, date '1970-01-01') as home_month,
    case
        when file_months.occurred_month <= {{ month_of(business_time(clock())) }}
        then file_months.occurred_month
        else coalesce(home_months.home_month, date '1970-01-01')
    end as month
from file_months
left join home_months on file_months.file = home_months.file and home_months.rank = 1
