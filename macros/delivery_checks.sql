{# Checks of a delivery: what share of it is rejected or unreadable, and whether it is unlike the months around it. #}
{% macro readings(columns) -%}
    {#- SQL: +name of each column whose value was read, -name of each that is given but unreadable, separated by blanks.
        columns: {name: [raw value, value]}; an id has a value of none: it is unreadable if it lost digits. -#}
    concat_ws(
        ' '
        {% for name, (raw, value) in columns.items() %}
            ,
            {% if value is none %} case when {{ has_lost_digits(raw) }} then '-{{ name }}' end
            {% else %}
                case
                    when {{ value }} is not null
                    then '+{{ name }}'
                    when nullif(trim(cast({{ raw }} as string)), '') is not null
                    then '-{{ name }}'
                end
            {% endif %}
        {% endfor %}
    )
{%- endmacro %}

{% macro was_read(column) -%}
    {#- SQL: true if the value of the column was read. -#}
    concat(' ', readings, ' ') like '% +{{ column }} %'
{%- endmacro %}

{% macro was_not_read(column) -%}
    {#- SQL: true if the value of the column is given but unreadable. -#}
    concat(' ', readings, ' ') like '% -{{ column }} %'
{%- endmacro %}

{% macro shape_of(text) -%}
    {#- SQL: the first 25 characters of a text, with 9 for each digit and a for each letter: no personal data. -#}
    translate(
        lower(substring({{ text }}, 1, 25)), '012345678bcdefghijklmnopqrstuvwxyz', '999999999aaaaaaaaaaaaaaaaaaaaaaaaa'
    )
{%- endmacro %}

{% macro id_columns(table) %}
    {# The id columns of a table of the contract. #}
    {% set names = [] %}
    {% for column in contract_columns(table) if column.meta.get("kind") == "id" %}
        {% do names.append(column.name) %}
    {% endfor %}
    {% do return(names) %}
{% endmacro %}

{% macro sentence(text) -%}
    {#- SQL: a text with the values of the columns whose names stand between < and >. -#}
    concat(
        {% for part in text.split("<") %}
            {% set column, is_column, rest = part.rpartition(">") %}
            {% if is_column %}coalesce(cast({{ column }} as string), ''), {% endif %} {{ quoted([rest]) }}
            {%- if not loop.last %},{% endif %}
        {% endfor %}
    )
{%- endmacro %}

{% macro fail_if(condition, message, value) -%}
    {#- SQL: the value, or an error with the message if the condition holds. -#}
    case when {{ condition }} then {{ fail_query(message) }} else {{ value }} end
{%- endmacro %}

{% macro failed_checks(failed) -%}
    {#- SQL: the message of the first failed check, and the number of others. -#}
    concat(
        {{ failed }}.message,
        case
            when {{ failed }}.n_failed > 1 then concat('; ', {{ failed }}.n_failed - 1, ' more checks failed') else ''
        end,
        '; nothing was changed'
    )
{%- endmacro %}

{% macro first_failed(checks, condition="true") -%}
    {#- SQL: one row with the message of the gravest failed check, null if none failed, and the number of them. -#}
    select min(case when rank = 1 then message end) as message, count(*) as n_failed
    from
        (
            select message, row_number() over (order by code = 'LS-SRC-009' desc, n_found desc, message) as rank
            from {{ checks }}
            where is_wrong and {{ condition }}
        ) as ranked
{%- endmacro %}

{% macro failed_of_table(table, columns, has_losses) -%}
    {#- SQL: the first failed check of the CTE newest, with columns of its readings, and of the CTE losses, if any. -#}
    {%- set checks -%}
        (
            select code, n_found, is_wrong, message
            from ({{ checks_of_rows(table, "newest", columns) }}) as checked
            {% if has_losses %}
                union all
                select code, n_found, is_wrong, message
                from losses
            {% endif %}
        ) as checks
    {%- endset -%}
    {{ first_failed(checks) }}
{%- endmacro %}

{% macro is_too_much(n_found, n_all, part=1) -%}
    {#- SQL: true if the rows found are more than a part of rejections_max_share, of at least 100 rows; a share of 1 allows
        all. -#}
    (
        {{ n_all }} >= 100
        and {{ n_found }} >= 20
        and {{ n_found }}
        > {{ part * setting("rejections_max_share") if setting("rejections_max_share") < 1 else 1 }} * {{ n_all }}
    )
{%- endmacro %}

{% macro examples_of(value) -%}
    {#- SQL: the first and the last example of a group. -#}
    min({{ value }}) || coalesce(', ' || nullif(max({{ value }}), min({{ value }})), '')
{%- endmacro %}

{% macro checks_of_rows(table, rows, columns) -%}
    {#- SQL: one row per check of the rows of a table: code, measure, value, n_rows, n_found, is_wrong, message. rows: a
        CTE of n (rows that each stands for), month, file, action (null: a table without them), reason, readings and
        example; columns: those of readings that are no ids. -#}
    {%- set measures = {"table": "'" ~ table ~ "'"} -%}
    {%- if table == "actions" -%}
        {%- set measures = {"month": "substring(cast(month as string), 1, 7)", "file": "file", "action": "action"} -%}
    {%- endif -%}
    select *, case when is_wrong then {{ message_of_rows(table) }} end as message
    from
        (
            select checks.*, known_reasons.remedy, coalesce(' (such as ' || checks.examples || ')', '') as such_as
            from
                (
                    select
                        case
                            when value in ({{ quoted(id_columns(table)) }}) then 'LS-SRC-009' else 'LS-SRC-007'
                        end as code,
                        measure,
                        value,
                        sum(n_group) as n_rows,
                        sum(n_found) as n_found,
                        max(case when rank = 1 then reason end) as reason,
                        max(case when rank = 1 then examples end) as examples,
                        case
                            when measure <> 'column'
                            then {{ is_too_much("sum(n_found)", "sum(n_group)") }}
                            when value in ({{ quoted(id_columns(table)) }})
                            then sum(n_found) > 0
                            when value = 'known action'
                            then {{ is_too_much("sum(n_found)", "sum(n_group)", 0.02) }}
                            else {{ is_too_much("sum(n_found)", "sum(n_group)", 0.1) }}
                        end as is_wrong
                    from
                        (
                            select
                                *,
                                row_number() over (
                                    partition by measure, value order by n_found desc, reason nulls last
                                ) as rank
                            from
                                (
                                    {% for measure, value in measures.items() %}
                                        select
                                            '{{ measure }}' as measure,
                                            {{ value }} as value,
                                            reason,
                                            sum(n) as n_group,
                                            sum(case when reason is not null then n else 0 end) as n_found,
                                            {{ examples_of("example") }} as examples
                                        from {{ rows }}
                                        where {{ value }} <> 'unknown'
                                        group by {{ value }}, reason
                                        union all
                                    {% endfor %}
                                    {% for column in id_columns(table) + columns %}
                                        {% set is_known = (
                                            "action <> 'unknown'"
                                            if column == "known action"
                                            else was_read(column)
                                        ) %}
                                        {% set is_unknown = (
                                            "action = 'unknown'"
                                            if column == "known action"
                                            else was_not_read(column)
                                        ) %}
                                        select
                                            'column' as measure,
                                            '{{ column }}' as value,
                                            cast(null as string) as reason,
                                            sum(n) as n_group,
                                            sum(case when {{ is_unknown }} then n else 0 end) as n_found,
                                            {{ examples_of("case when " ~ is_unknown ~ " then example end") }}
                                            as examples
                                        from {{ rows }}
                                        where {{ is_known }} or {{ is_unknown }}
                                        {%- if not loop.last %}
                                            union all
                                        {% endif %}
                                    {% endfor %}
                                ) as by_reason
                        ) as ranked
                    where value is not null and n_group is not null
                    group by measure, value
                ) as checks
            left join
                {{ ref("rejection_reasons") }} as known_reasons
                on known_reasons.table_name = '{{ table }}'
                and known_reasons.reason = split_part(checks.reason, ' ', 1)
        ) as explained
{%- endmacro %}

{% macro message_of_rows(table) -%}
    {#- SQL: the message of a check, with the commonest reason and its remedy. -#}
    {%- set limit = "; rejections_max_share is " ~ setting("rejections_max_share") -%}
    case
        when code = 'LS-SRC-009'
        then
            {{
                sentence(
                    "LS-SRC-009 <n_found> values of "
                    ~ table
                    ~ ".<value> lost digits, as in 1.2345E+17: export the column as text"
                )
            }}
        when value = 'known action'
        then
            {{
                sentence(
                    "LS-SRC-007 <n_found> of <n_rows> actions are unknown, such as <examples>: add the words to seeds/action_synonyms.csv, or name the log of the numbers by var source_action_codes"
                    ~ limit
                )
            }}
        when measure = 'column'
        then
            {{
                sentence(
                    "LS-SRC-007 <n_found> of <n_rows> values of "
                    ~ table
                    ~ ".<value> are unreadable: give them in a form of docs/data_contract.md"
                    ~ limit
                )
            }}
        else
            {{
                sentence(
                    "LS-SRC-007 <n_found> of <n_rows> "
                    ~ table
                    ~ " in <value> would be rejected, most often as <reason><such_as>: <remedy>"
                    ~ limit
                )
            }}
    end
{%- endmacro %}

{% macro checks_of_delivery(counts) -%}
    {#- SQL: one row per check of the newest delivery of actions, from source_row_counts. Ignored actions are no part of
        any check. -#}
    with
        delivered as (
            select month, file, action, device, reasons as reason, readings, example, is_new, n_rows as n
            from {{ counts }}
            where reasons is distinct from 'action_ignored'
        ),
        newest as (select * from delivered where is_new),
        rows_checked as (
            {{ checks_of_rows("actions", "newest", ["quantity", "dwell_seconds", "price", "known action"]) }}
        ),
        shares_checked as ({{ checks_of_shares("delivered") }})
    select
        code,
        measure,
        value,
        cast(null as date) as month,
        n_rows,
        n_found,
        cast(null as double) as n_expected,
        is_wrong,
        message
    from rows_checked
    union all
    select code, measure, value, month, n_rows, n_found, n_expected, is_wrong, message
    from shares_checked
{%- endmacro %}

{% macro checks_of_shares(rows) -%}
    {#- SQL: one row per month of new rows, measure and value: the share of the month's rows against the median of up to
        six months on either side, from three such months on. rows: a CTE of n, month, is_new, action, device, reason
        and readings. -#}
    with
        valued as (
            select month, 'action' as measure, action as value, n
            from {{ rows }}
            union all
            select month, 'device', device, n
            from {{ rows }}
            where device is not null
            union all
            select month, 'reason', reason, n
            from {{ rows }}
            where reason is not null
            {% for column in ["quantity", "dwell_seconds", "price"] %}
                union all
                select month, 'unreadable column', '{{ column }}', n
                from {{ rows }}
                where {{ was_not_read(column) }}
            {% endfor %}
        ),
        months_of_rows as (
            select month, sum(n) as n_rows, max(case when is_new then 1 else 0 end) as is_new
            from {{ rows }}
            group by month
        ),
        shares as (
            select months_of_rows.*, measured.measure, measured.value, coalesce(sum(valued.n), 0) as n_found
            from months_of_rows
            cross join (select distinct measure, value from valued) as measured
            left join
                valued
                on months_of_rows.month = valued.month
                and measured.measure = valued.measure
                and measured.value = valued.value
            group by
                months_of_rows.month, months_of_rows.n_rows, months_of_rows.is_new, measured.measure, measured.value
        ),
        expected as (
            select
                shares.month,
                shares.measure,
                shares.value,
                max(shares.n_rows) as n_rows,
                max(shares.n_found) as n_found,
                max(shares.n_rows)
                * {{ order_statistic("cast(others.n_found as double) / others.n_rows", 0.5) }} as n_expected
            from shares
            inner join
                shares as others
                on shares.measure = others.measure
                and shares.value = others.value
                and shares.month <> others.month
                and abs({{ months_between("shares.month", "others.month") }}) <= 6
            where shares.is_new = 1
            group by shares.month, shares.measure, shares.value
            having count(*) >= 3
        )
    select
        'LS-SRC-010' as code,
        measure,
        value,
        month,
        n_rows,
        n_found,
        n_expected,
        is_wrong,
        case
            when is_wrong
            then
                {{
                    sentence(
                        "LS-SRC-010 <n_found> of <n_rows> rows in <in_month> have the <measure> <value>, <n_likely> are expected by the months around it: compare the delivery with them; if it is right, run once with rejections_on_shift: warn"
                    )
                }}
        end as message
    from
        (
            select
                *,
                substring(cast(month as string), 1, 7) as in_month,
                cast(round(n_expected) as bigint) as n_likely,
                -- A device may be new.
                case
                    when n_expected >= 20
                    then n_found > 3 * n_expected or n_found < n_expected / 3
                    else measure <> 'device' and n_found > 60
                end as is_wrong
            from expected
        ) as e
{%- endmacro %}

{% macro changed_months(known) -%}
    {#- SQL: one row per month of the CTE delivered, a source table: whether it is new. known: the counts of the last run.
        If no month has changed, the new months of the last run are. -#}
    select occurred_month, case when max(is_changed) over () = 1 then is_changed else was_new end as is_new, is_changed
    from
        (
            select
                now.occurred_month,
                case when before.content_hash is distinct from now.content_hash then 1 else 0 end as is_changed,
                coalesce(before.was_new, 0) as was_new
            from
                (
                    select occurred_month, {{ sum_of_hashes("content_hash") }} as content_hash
                    from delivered
                    group by occurred_month
                ) as now
            left join
                (
                    select
                        occurred_month,
                        {{ sum_of_hashes("content_hash") }} as content_hash,
                        max(case when is_new then 1 else 0 end) as was_new
                    from {{ known }}
                    group by occurred_month
                ) as before
                on now.occurred_month is not distinct from before.occurred_month
        ) as compared
{%- endmacro %}

{% macro losses(table, known, left) -%}
    {#- SQL: a check with the number of rows that were delivered within the last 30 days, and of those that left since.
        known: valid rows of the last run with left_on; left: those that are not delivered now. -#}
    select
        *,
        'LS-SRC-008' as code,
        n_found >= 20 and n_found > {{ setting("rejections_max_lost_share") }} * n_rows as is_wrong,
        {{
            sentence(
                "LS-SRC-008 <n_found> of <n_rows> "
                ~ table
                ~ " left the source within 30 days, more than rejections_max_lost_share: deliver the complete table, or allow more once"
            )
        }}
        as message
    from
        (
            select
                (
                    select count(*) from {{ known }} and (left_on is null or left_on >= {{ window_of_losses() }})
                ) as n_rows,
                (
                    select count(*) from {{ left }} where left_on is null or left_on >= {{ window_of_losses() }}
                ) as n_found
        ) as counts
{%- endmacro %}

{% macro window_of_losses() -%}
    {#- SQL: the first day of the 30 days in which losses add up. -#}
    cast({{ clock() }} - interval '30' day as date)
{%- endmacro %}

{% macro left_on(left) -%}
    {#- SQL: the day on which a row left the source. A loss of more than a tenth was accepted by this run, so it counts
        in no later one. -#}
    case
        when losses.n_found > 0.1 * losses.n_rows
        then date '1970-01-01'
        else coalesce({{ left }}.left_on, cast({{ clock() }} as date))
    end
{%- endmacro %}
