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

{% macro shape_of(text) -%}
    {#- SQL: the first 25 characters of a text, with 9 for each digit and a for each letter: no personal data. -#}
    translate(lower(left({{ text }}, 25)), '012345678bcdefghijklmnopqrstuvwxyz', '999999999aaaaaaaaaaaaaaaaaaaaaaaaa')
{%- endmacro %}

{% macro checks_of_delivery(counts) -%}
    {#- SQL: one row per check of the new rows of source_row_counts. Rows of known actions that the project ignores are
        no part of any check. -#}
    with
        rows_of as (
            select *, n_rows as n, case when reasons is not null then n_rows else 0 end as n_rejected
            from {{ counts }}
            where reasons is distinct from 'action_ignored'
        ),
        new_rows as (select * from rows_of where is_new),
        -- Within the delivery: by month, file and action, and all rows for an action that is not known.
        grouped as (
            {% for measure, value in [
                ("month", "left(cast(month as string), 7)"),
                ("file", "file"),
                ("action", "action"),
            ] %}
                select '{{ measure }}' as measure, {{ value }} as value, reasons, example, n, n_rejected as n_found
                from new_rows
                {% if measure == "action" %} where action <> 'unknown' {% endif %}
                union all
            {% endfor %}
            select
                'unknown action' as measure,
                'all files' as value,
                reasons,
                case when action = 'unknown' then example end as example,
                n,
                case when action = 'unknown' then n else 0 end as n_found
            from new_rows
            {% for column in columns_with_readings() %}
                union all
                select
                    'column' as measure,
                    '{{ column }}' as value,
                    cast(null as string) as reasons,
                    cast(null as string) as example,
                    n,
                    case when {{ was_not_read(column) }} then n else 0 end as n_found
                from new_rows
                where {{ was_read(column) }} or {{ was_not_read(column) }}
            {% endfor %}
        ),
        by_reason as (
            select
                measure,
                value,
                reasons,
                sum(n_found) as n_reason,
                min(example) as example,
                max(example) as other_example
            from grouped
            where n_found > 0
            group by measure, value, reasons
        ),
        commonest as (
            select *, row_number() over (partition by measure, value order by n_reason desc, reasons) as rank
            from by_reason
        ),
        within_delivery as (
            select
                sums.measure,
                sums.value,
                sums.n_rows,
                sums.n_found,
                cast(null as double) as n_expected,
                commonest.reasons,
                commonest.example
                || coalesce(', ' || nullif(commonest.other_example, commonest.example), '') as examples
            from
                (
                    select measure, value, sum(n) as n_rows, sum(n_found) as n_found
                    from grouped
                    group by measure, value
                ) as sums
            left join
                commonest on sums.measure = commonest.measure and sums.value = commonest.value and commonest.rank = 1
        ),
        -- Against the months around it: what share of the rows has an action, a device, a reason or an unreadable
        -- column.
        valued as (
            select month, 'action' as measure, action as value, n, is_new
            from rows_of
            union all
            select month, 'device', device, n, is_new
            from rows_of
            where device is not null
            union all
            select month, 'reason', reasons, n, is_new
            from rows_of
            where reasons is not null
            {% for column in columns_with_readings() %}
                union all
                select month, 'unreadable column', '{{ column }}', n, is_new
                from rows_of
                where {{ was_not_read(column) }}
            {% endfor %}
        ),
        months_of_rows as (
            select month, cast(sum(n) as double) as n_rows, max(case when is_new then 1 else 0 end) as is_new
            from rows_of
            group by month
        ),
        shares as (
            select
                months_of_rows.month,
                months_of_rows.is_new,
                months_of_rows.n_rows,
                measured.measure,
                measured.value,
                coalesce(sum(valued.n), 0) as n_found
            from months_of_rows
            cross join (select distinct measure, value from valued) as measured
            left join
                valued
                on months_of_rows.month = valued.month
                and measured.measure = valued.measure
                and measured.value = valued.value
            group by 1, 2, 3, 4, 5
        ),
        -- The median of up to six months on either side, from three such months on.
        expected as (
            select
                shares.month,
                shares.measure,
                shares.value,
                max(shares.n_rows) as n_rows,
                max(shares.n_found) as n_found,
                max(shares.n_rows) * {{ order_statistic("others.n_found / others.n_rows", 0.5) }} as n_expected
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
        ),
        judged as (
            select
                case
                    when measure = 'column' and value in ({{ quoted(id_columns("actions")) }})
                    then 'LS-SRC-009'
                    else 'LS-SRC-007'
                end as code,
                measure,
                value,
                cast(null as date) as month,
                n_rows,
                n_found,
                n_expected,
                reasons,
                examples,
                case
                    when measure = 'column' and value in ({{ quoted(id_columns("actions")) }})
                    then {{ is_unreadable_too_often("n_found", "n_rows", true) }}
                    when measure = 'column'
                    then {{ is_unreadable_too_often("n_found", "n_rows") }}
                    when measure = 'unknown action'
                    then {{ is_too_much("n_found", "n_rows", 0.02) }}
                    else n_rows >= 100 and n_found > {{ setting("rejections_max_share") }} * n_rows
                end as is_wrong
            from within_delivery
            union all
            select
                'LS-SRC-010' as code,
                measure,
                value,
                month,
                n_rows,
                n_found,
                n_expected,
                case when measure = 'reason' then value end as reasons,
                cast(null as string) as examples,
                case
                    when n_expected >= 20
                    then n_found > 3 * n_expected or n_found < n_expected / 3
                    -- A device may be new.
                    else measure <> 'device' and n_found > 60
                end as is_wrong
            from expected
        )
    select
        judged.code,
        judged.measure,
        judged.value,
        judged.month,
        judged.n_rows,
        judged.n_found,
        judged.n_expected,
        judged.reasons,
        judged.examples,
        judged.is_wrong,
        {{ message_of_check() }} as message
    from judged
    left join
        {{ ref("rejection_reasons") }} as known_reasons
        on known_reasons.table_name = 'actions'
        and known_reasons.reason = split_part(judged.reasons, ' ', 1)
{%- endmacro %}

{% macro message_of_check() -%}
    {#- SQL: what a check found, its commonest reason with examples, and the remedy of that reason. -#}
    concat(
        code,
        ' ',
        cast(n_found as bigint),
        ' of ',
        cast(n_rows as bigint),
        case
            when code = 'LS-SRC-009'
            then concat(' values of ', value, ' lost digits, as 1.2345E+17 did: export the column as text')
            when code = 'LS-SRC-010'
            then
                concat(
                    ' rows of ',
                    left(cast(month as string), 7),
                    ' for the ',
                    measure,
                    ' ',
                    value,
                    ', where the months around it let expect ',
                    cast(n_expected as bigint),
                    ': compare it with them; if it is right, run once with rejections_on_shift: warn'
                )
            when measure = 'column'
            then concat(' values of ', value, ' are unreadable: give numbers')
            else
                concat(
                    case
                        when measure = 'unknown action'
                        then ' actions are unknown'
                        else concat(' rows of ', value, ' would be rejected')
                    end,
                    ', most often as ',
                    reasons,
                    coalesce(' (such as ' || examples || ')', ''),
                    ': ',
                    known_reasons.remedy,
                    '; rejections_max_share is {{ setting("rejections_max_share") }}'
                )
        end
    )
{%- endmacro %}

{% macro columns_with_readings() %}
    {# The columns of the actions that readings_of_action covers. #}
    {% do return(id_columns("actions") + ["quantity", "dwell_seconds"]) %}
{% endmacro %}

{% macro id_columns(table) %}
    {# The id columns of a table of the contract. #}
    {% set names = [] %}
    {% for column in contract_columns(table) if column.meta.get("kind") == "id" %}
        {% do names.append(column.name) %}
    {% endfor %}
    {% do return(names) %}
{% endmacro %}

{% macro is_fatal(code) -%}
    {#- SQL: true for a check that stops the run; var rejections_on_shift makes those against other months a notice. -#}
    {{ "true" if setting("rejections_on_shift") == "fail" else code ~ " <> 'LS-SRC-010'" }}
{%- endmacro %}

{% macro fail_if(condition, message, value) -%}
    {#- SQL: the value, or an error with the message if the condition holds. -#}
    case when {{ condition }} then {{ fail_query(message) }} else {{ value }} end
{%- endmacro %}

{% macro failed_checks(failed) -%}
    {#- SQL: the message of the largest failed check, the number of others, and what allows the delivery. -#}
    concat(
        {{ failed }}.message,
        case
            when {{ failed }}.n_failed > 1 then concat('; ', {{ failed }}.n_failed - 1, ' more checks failed') else ''
        end,
        '; nothing was changed'
    )
{%- endmacro %}

{% macro message_of_conflicts(counts) -%}
    {#- SQL: the message about a month whose ids are no ids of actions. -#}
    concat(
        'LS-SRC-007 ',
        {{ counts }}.n_conflicting,
        ' of ',
        {{ counts }}.n_rows,
        ' rows of ',
        left(cast({{ this_month() }} as string), 7),
        ' share their action_id with another action; rejections_max_share is {{ setting("rejections_max_share") }}: give each action an id of its own, or allow more; the month was not written'
    )
{%- endmacro %}

{% macro failed_checks_of(table, rows, columns, has_losses) -%}
    {#- SQL: one row with the message of a failed check of a table's rows, null if none failed, and the number of them.
        rows: a CTE of reason, readings and example; columns: those of readings; has_losses: there is a CTE of losses. -#}
    {%- set ids = id_columns(table) -%}
    select min(case when rank = 1 then message end) as message, count(*) as n_failed
    from
        (
            select message, row_number() over (order by weight desc, message) as rank
            from
                (
                    select
                        cast(n_rejected as double) as weight,
                        case
                            when n_rows >= 100 and n_rejected > {{ setting("rejections_max_share") }} * n_rows
                            then
                                concat(
                                    'LS-SRC-007 ',
                                    n_rejected,
                                    ' of ',
                                    n_rows,
                                    ' {{ table }} would be rejected, most often as ',
                                    commonest.reason,
                                    coalesce(' (such as ' || commonest.example || ')', ''),
                                    ': ',
                                    known_reasons.remedy,
                                    '; rejections_max_share is {{ setting("rejections_max_share") }}'
                                )
                        end as message
                    from (select count(*) as n_rows, count(reason) as n_rejected from {{ rows }}) as sums
                    cross join
                        (
                            select
                                reason,
                                max(example) as example,
                                row_number() over (order by count(*) desc, reason) as rank
                            from {{ rows }}
                            where reason is not null
                            group by reason
                        ) as commonest
                    left join
                        {{ ref("rejection_reasons") }} as known_reasons
                        on known_reasons.table_name = '{{ table }}'
                        and known_reasons.reason = commonest.reason
                    where commonest.rank = 1
                    {% if has_losses %}
                        union all
                        select
                            1e17 as weight,
                            case
                                when n_left >= 20 and n_left > {{ setting("rejections_max_lost_share") }} * n_known
                                then
                                    concat(
                                        'LS-SRC-008 ',
                                        n_left,
                                        ' of ',
                                        n_known,
                                        ' {{ table }} left the source within 30 days, more than rejections_max_lost_share: deliver the complete table, or allow more once'
                                    )
                            end as message
                        from losses
                    {% endif %}
                    {% for column in ids + columns %}
                        union all
                        select
                            {{ "1e18" if column in ids else "n_unreadable" }} as weight,
                            case
                                when {{ is_unreadable_too_often("n_unreadable", "n_given", column in ids) }}
                                then
                                    concat(
                                        '{{ "LS-SRC-009" if column in ids else "LS-SRC-007" }} ',
                                        n_unreadable,
                                        ' of ',
                                        n_given,
                                        ' values of {{ table }}.{{ column }} ',
                                        {% if column in ids %}
                                            'lost digits, as 1.2345E+17 did: export the column as text'
                                        {% else %} 'are unreadable: give them in a form of docs/data_contract.md'
                                        {% endif %}
                                    )
                            end as message
                        from
                            (
                                select
                                    count(
                                        case when {{ was_read(column) }} or {{ was_not_read(column) }} then 1 end
                                    ) as n_given,
                                    count(case when {{ was_not_read(column) }} then 1 end) as n_unreadable
                                from {{ rows }}
                            ) as sums
                    {% endfor %}
                ) as messages
            where message is not null
        ) as ranked
{%- endmacro %}

{% macro is_unreadable_too_often(n_unreadable, n_given, is_id=false) -%}
    {#- SQL: true if a column must stop the run: an id that lost digits, or a tenth of the share of rejected rows. -#}
    {{ n_unreadable ~ " > 0" if is_id else is_too_much(n_unreadable, n_given, 0.1) }}
{%- endmacro %}

{% macro is_too_much(n_found, n_all, part) -%}
    {#- SQL: true if the rows found are more than a part of rejections_max_share, which of 1 allows all. -#}
    {{ n_found }} >= 20
    and {{ n_found }}
    > {{ part * setting("rejections_max_share") if setting("rejections_max_share") < 1 else 1 }} * {{ n_all }}
{%- endmacro %}

{% macro was_read(column) -%}
    {#- SQL: true if the value of the column was read. -#}
    concat(' ', readings, ' ') like '% +{{ column }} %'
{%- endmacro %}

{% macro was_not_read(column) -%}
    {#- SQL: true if the value of the column is given but unreadable. -#}
    concat(' ', readings, ' ') like '% -{{ column }} %'
{%- endmacro %}

{% macro losses(known, left) -%}
    {#- SQL: one row with the number of rows that were delivered within the last 30 days, and of those that left since.
        known: valid rows of the last run with left_on; left: those that are not delivered now. -#}
    select
        (select count(*) from {{ known }} and (left_on is null or left_on >= {{ window_of_losses() }})) as n_known,
        (select count(*) from {{ left }} where left_on is null or left_on >= {{ window_of_losses() }}) as n_left
{%- endmacro %}

{% macro window_of_losses() -%}
    {#- SQL: the first day of the 30 days in which losses add up. -#}
    cast({{ clock() }} - interval '30' day as date)
{%- endmacro %}

{% macro left_on(left) -%}
    {#- SQL: the day on which a row left the source. A loss of more than a tenth was accepted by this run, so it counts
        in no later one. -#}
    case
        when losses.n_left > 0.1 * losses.n_known
        then date '1970-01-01'
        else coalesce({{ left }}.left_on, cast({{ clock() }} as date))
    end
{%- endmacro %}
