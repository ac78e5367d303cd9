-- Rows of the delivered action files, counted by month, action, device and what is wrong with them; the counts that
-- delivery_checks compares. A run reads only new or changed files, detected by size and modification time; a source
-- table has neither: it is read by every run, and its changed months are new. The run fails if a check does. Items and
-- children are checked first.
{{ config(meta={"always_built": true, "check": "check_actions"}) }}
-- depends_on: {{ ref("stg_child_rows") }} {{ ref("stg_item_rows") }} {{ ref("rejection_reasons") }}
{% set from_tables = reads_tables() %}
{% set files = source_files("actions") if execute and not from_tables else [] %}
{% set unread = files_to_read("actions", files) if execute else [] %}
{% set known = existing(this) %}
{% set this_calendar_month = month_of(business_time(clock())) %}
{% set columns = contract_columns("actions") | map(attribute="name") if execute else [] %}
{% set delivered_contents = [
    "action_id",
    "user_id",
    "raw_occurred_at",
    "raw_action",
    "item_id",
    "search_term",
    "raw_quantity",
    "price",
] %}
{% set counted = ["occurred_month", "action", "device", "reasons", "readings", "example", "n_rows", "content_hash"] %}
with
    dated as (
        select {{ columns | join(", ") }}, source_file, {{ moment("occurred_at") }} as utc_time
        from ({{ source_rows("actions", unread) }}) as source_rows
    ),
    typed as (
        -- No pseudonyms: users are only counted.
        select
            {{ typed_action_columns(plain_user_id_of("raw_actions.user_id")) }}, {{ readings_of_action() }} as readings
        from dated as raw_actions
        left join {{ ref("action_synonyms") }} as synonyms on {{ is_action_word() }}
    ),
    validated as (select *, {{ action_rejection_reasons() }} as reasons from typed),
    delivered as (
        select
            source_file as file,
            case
                when occurred_at >= timestamp '2000-01-01' then {{ month_of(business_time("occurred_at")) }}
            end as occurred_month,
            action,
            -- Identifiers of devices have digits.
            case when {{ matches("lower(device)", "^[a-z_ /-]{1,20}$") }} then lower(device) end as device,
            reasons,
            readings,
            max({{ example_of_reason() }}) as example,
            count(*) as n_rows,
            {{ order_free_hash(delivered_contents) if from_tables else "''" }} as content_hash
        from validated
        group by 1, 2, 3, 4, 5, 6
    ),
    listed as (
        {% if from_tables %}
            select file, concat({{ sum_of_hashes("content_hash") }}, ' {{ validation_rules() }}') as version
            from delivered
            group by file
        {% else %}{{ versions_of(files) }}
        {% endif %}
    ),
    {% if from_tables and known %}
        changed_months as (
            select
                now.occurred_month,
                case
                    when before.content_hash = now.content_hash then before.read_at else {{ started_at() }}
                end as read_at
            from
                (
                    select occurred_month, {{ sum_of_hashes("content_hash") }} as content_hash
                    from delivered
                    group by occurred_month
                ) as now
            left join
                (
                    select occurred_month, {{ sum_of_hashes("content_hash") }} as content_hash, max(read_at) as read_at
                    from {{ known }}
                    group by occurred_month
                ) as before
                on coalesce(before.occurred_month, date '1970-01-01') = coalesce(now.occurred_month, date '1970-01-01')
        ),
    {% endif %}
    file_rows as (
        select
            listed.file,
            listed.version,
            {{ "changed.read_at" if from_tables and known else started_at() ~ " as read_at" }},
            {% for column in counted %} delivered.{{ column }}{% if not loop.last %}, {% endif %} {% endfor %}
        from delivered
        inner join listed on delivered.file = listed.file
        {% if from_tables and known %}
            inner join
                changed_months as changed
                on coalesce(changed.occurred_month, date '1970-01-01')
                = coalesce(delivered.occurred_month, date '1970-01-01')
        {% elif known %}
            union all
            select known.file, known.version, known.read_at, {{ counted | join(", ") }}
            from {{ known }} as known
            inner join listed on known.file = listed.file and known.version = listed.version
            where known.file not in ({{ quoted(unread or [""]) }})
        {% endif %}
    ),
    -- The history begins at most 24 months before the first month with as many rows as a count that is published, and
    -- a hundredth of the median month.
    months_found as (
        select occurred_month, sum(n_rows) as n_rows
        from file_rows
        where occurred_month <= {{ this_calendar_month }}
        group by occurred_month
    ),
    history as (
        select coalesce({{ months_after("min(months_found.occurred_month)", -24) }}, date '2000-01-01') as first_month
        from months_found
        cross join (select {{ order_statistic("n_rows", 0.5) }} as n_rows from months_found) as median
        where
            months_found.n_rows >= {{ setting("marts_min_cell_users") }} and months_found.n_rows >= 0.01 * median.n_rows
    ),
    busiest_months as (
        select file, occurred_month, row_number() over (partition by file order by n_rows desc, occurred_month) as rank
        from
            (
                select file, occurred_month, sum(n_rows) as n_rows
                from file_rows
                cross join history
                where occurred_month between history.first_month and {{ this_calendar_month }}
                group by file, occurred_month
            ) as file_months
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
        from (select distinct file from file_rows) as files
        left join busiest_months on files.file = busiest_months.file and busiest_months.rank = 1
    )
select
    file_rows.file,
    file_rows.version,
    file_rows.read_at,
    {{ counted | join(", ") }},
    home_months.home_month,
    case
        when file_rows.occurred_month between history.first_month and {{ this_calendar_month }}
        then file_rows.occurred_month
        else home_months.home_month
    end as month
from file_rows
inner join home_months on file_rows.file = home_months.file
cross join history
