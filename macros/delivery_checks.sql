{# Checks of a delivery: what they count in SQL. python/life_stage/engine/delivery_checks.py judges the counts. #}
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
    translate(
        lower(substring({{ text }}, 1, 25)), '012345678bcdefghijklmnopqrstuvwxyz', '999999999aaaaaaaaaaaaaaaaaaaaaaaaa'
    )
{%- endmacro %}

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

{% macro window_of_losses() -%}
    {#- SQL: the first day of the 30 days in which losses add up. -#}
    cast({{ clock() }} - interval '30' day as date)
{%- endmacro %}

{% macro losses(known, left) -%}
    {#- SQL: the number of rows that were delivered within the last 30 days, and of those that left since. known: valid
        rows of the last run with left_on; left: those that are not delivered now. -#}
    select
        (select count(*) from {{ known }} and (left_on is null or left_on >= {{ window_of_losses() }})) as n_rows,
        (select count(*) from {{ left }} where left_on is null or left_on >= {{ window_of_losses() }}) as n_found
{%- endmacro %}

{% macro left_on(table, left) -%}
    {#- SQL: the day on which a row left the source; fails if too many did. A loss of more than a tenth was accepted by
        this run, so it counts in no later one. -#}
    {%- set days -%}
        case
            when losses.n_found > 0.1 * losses.n_rows
            then date '1970-01-01'
            else coalesce({{ left }}.left_on, cast({{ clock() }} as date))
        end
    {%- endset -%}
    {%- set is_wrong = (
        "losses.n_found >= 20 and losses.n_found > "
        ~ setting("rejections_max_lost_share")
        ~ " * losses.n_rows"
    ) -%}
    {{
        fail_if(
            is_wrong,
            sentence(
                "LS-SRC-008 <n_found> of <n_rows> "
                ~ table
                ~ " left the source within 30 days, more than rejections_max_lost_share: deliver the complete table, or allow more once; nothing was changed"
            ),
            days,
        )
    }}
{%- endmacro %}

{% macro check_output(relation, of_month="") %}
    {# Fails if new rows of `model` fail the check that its meta.check names, before they replace the old ones;
       of_month: the condition of those rows, in a table by month. #}
    {% if model.config.meta.get("check") %} {% do context[model.config.meta.check](relation ~ of_month) %} {% endif %}
{% endmacro %}

{% macro check_in_host() %}
    {# Hook of check_output within the transaction of a host's table, which dbt's own materialization builds. #}
    {% if execute and is_package() %} {% do check_output(this) %} {% endif %}
{% endmacro %}

{% macro check_conflicts(rows) %}
    {# Fails on the actions of a month of which too many share their id with another one. Rows of excluded users, which
       are never marked, do not count. #}
    {% set counts = (
        "count(case when coalesce(reasons, '') not in ('user_erased', 'no_consent') then 1 end) as n_rows, "
        ~ "count(case when is_conflicting then 1 end) as n_found"
    ) %}
    {% set found = run_query("select min(month) as month, " ~ counts ~ " from " ~ rows).rows[0] %}
    {% set limit = setting("rejections_max_share") %}
    {% do fail_all(modules.life_stage.failed_ids(found["month"], found["n_rows"], found["n_found"], limit)) %}
{% endmacro %}

{% macro check_fit(shares) %}
    {# Fails on tables of the source that do not fit together. #}
    {% set sql = "select measure, month, n_all, n_found, share_before from " ~ shares %}
    {% do fail_all(modules.life_stage.failed_fit(run_query(sql).rows, setting("rejections_min_fit"))) %}
{% endmacro %}

{% macro check_actions(counts) %}
    {# Fails on the newest delivery of actions, if this run has read it. #}
    {% set newest = run_query("select max(read_at) = " ~ started_at() ~ " as is_read from " ~ counts).rows[0][
        "is_read"
    ] %}
    {% if newest %}
        {% do check_counts("actions", "select " ~ modules.life_stage.delivery_counts ~ " from " ~ counts) %}
    {% endif %}
{% endmacro %}

{% macro check_children(registrations) %}
    {# Fails on the registrations of this run. Those of excluded users have no values. #}
    {% set sql %}
        select
            count(*) as n,
            case when reason not in ('superseded', 'children_too_close') then reason end as reason,
            readings,
            min(case when reason = 'birth_date_unreadable' then {{ shape_of("raw_birth_date") }} end) as first,
            max(case when reason = 'birth_date_unreadable' then {{ shape_of("raw_birth_date") }} end) as last
        from {{ registrations }}
        where coalesce(reason, '') not in ('left_source', 'user_erased', 'no_consent')
        group by 2, 3
    {% endset %}
    {% do check_counts("children", sql) %}
{% endmacro %}

{% macro check_items(items) %}
    {# Fails on the items of this run. #}
    {% set sql %}
        select
            count(*) as n,
            case when reason = 'item_missing' then reason end as reason,
            readings,
            cast(null as string) as first,
            cast(null as string) as last
        from {{ items }}
        where left_on is null and valid_to_month is null
        group by 2, 3
    {% endset %}
    {% do check_counts("items", sql) %}
{% endmacro %}

{% macro check_counts(table, sql) %}
    {# Fails if a check of the counted rows fails. #}
    {% set remedies = {} %}
    {% set known = (
        "select reason, remedy from " ~ own_table("rejection_reasons") ~ " where table_name = '" ~ table ~ "'"
    ) %}
    {% for row in run_query(known).rows %} {% do remedies.update({row["reason"]: row["remedy"]}) %} {% endfor %}
    {% do fail_all(
        modules.life_stage.failed_delivery(
            table,
            run_query(sql).rows,
            remedies,
            setting("rejections_max_share"),
            shifts_fail=setting("rejections_on_shift") == "fail",
        )
    ) %}
{% endmacro %}
