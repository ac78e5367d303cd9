{# Validation of raw actions: types and rejection reasons, for the inventory of files and for staging. #}
{% macro dated_actions(raw_rows) -%}
    {#- SQL: raw actions with their time in UTC; other columns of the source than those of the contract are left out.
        -#}
    {%- set columns = contract_columns("actions") | map(attribute="name") if execute else [] -%}
    select {{ columns | join(", ") }}, source_file, {{ utc_timestamp("occurred_at") }} as utc_time
    from ({{ raw_rows }}) as raw_rows
{%- endmacro %}

{% macro typed_actions(dated_rows, user_id=none) -%}
    {#- SQL: dated actions with the types and the action names of the project, one row per raw row. -#}
    select
        raw_actions.source_file,
        {{ id_of("raw_actions.action_id") }} as action_id,
        {{ user_id or user_id_of("raw_actions.user_id") }} as user_id,
        raw_actions.utc_time as occurred_at,
        coalesce(synonyms.action, 'unknown') as action,
        {{ id_of("raw_actions.item_id") }} as item_id,
        nullif(trim(raw_actions.search_term), '') as search_term,
        try_cast(raw_actions.quantity as double) as quantity,
        raw_actions.session_id,
        raw_actions.device,
        try_cast(raw_actions.dwell_seconds as double) as dwell_seconds,
        cast(raw_actions.occurred_at as string) as raw_occurred_at,
        raw_actions.action as raw_action,
        nullif(trim(raw_actions.quantity), '') as raw_quantity
    from ({{ dated_rows }}) as raw_actions
    left join {{ ref("action_synonyms") }} as synonyms on lower(trim(raw_actions.action)) = synonyms.word
{%- endmacro %}

{% macro action_rejection_reasons() -%}
    {#- SQL: all rejection reasons of a typed row, separated by blanks; null: the row is valid. -#}
    nullif(
        concat_ws(
            ' ',
            case when action_id is null then 'action_id_missing' end,
            case when user_id is null then 'user_missing' end,
            case when occurred_at is null then 'time_unreadable' end,
            case when occurred_at < timestamp '2000-01-01' then 'time_before_2000' end,
            case when occurred_at > {{ clock() }} then 'time_in_future' end,
            case when action = 'unknown' then 'action_unknown' end,
            case when action = 'search' and search_term is null then 'search_without_term' end,
            case when action not in ('search', 'unknown') and item_id is null then 'item_missing' end,
            case
                when
                    action = 'purchase'
                    and raw_quantity is not null
                    and not coalesce(quantity between 1 and {{ var("max_quantity") }}, false)
                then 'quantity_absurd'
            end
        ),
        ''
    )
{%- endmacro %}

{% macro counted_actions(raw_rows) -%}
    {#- SQL: one row per file and month: the number of rows, the number of rejected rows, and their content hash. -#}
    {%- set in_month = (
        "case when occurred_at >= timestamp '2000-01-01' then "
        ~ month_of(business_time("occurred_at"))
        ~ " end"
    ) -%}
    {%- set content_hash = [
        "action_id",
        "user_id",
        "raw_occurred_at",
        "raw_action",
        "item_id",
        "search_term",
        "raw_quantity",
    ] -%}
    select
        source_file as file,
        {{ in_month }} as occurred_month,
        count(*) as n_rows,
        count(reasons) as n_rejected,
        max(reasons) as a_reason,
        {{ order_free_hash(content_hash) if var("source_schema") else "''" }} as content_hash
    from
        (
            select *, {{ action_rejection_reasons() }} as reasons
            from ({{ typed_actions(dated_actions(raw_rows), id_of("raw_actions.user_id")) }}) as typed
        ) as validated
    group by source_file, {{ in_month }}
{%- endmacro %}

{% macro validation_rules() %}
    {# The validation rules as text. A change makes every file be read and validated again. #}
    {% if not execute %} {% do return("") %} {% endif %}
    {# No ref: preflight checks call this before any model is built. #}
    {% set synonyms = api.Relation.create(target.database or none, target.schema, "action_synonyms") %}
    {% set words = "select " ~ order_free_hash(["word", "action"]) ~ " as words from " ~ synonyms %}
    {% do return(run_query(words).rows[0]["words"] ~ " " ~ var("max_quantity")) %}
{% endmacro %}

{% macro fail_if_too_many_rejected(value, rows, n_rejected, n_rows, reason) -%}
    {#- SQL: the value, or an error if more than max_rejected_share of the rows would be rejected: that is a broken
        delivery. Below 100 rows the share is not reliable. -#}
    {%- set what -%}
        concat(
            'LS-SRC-007 ', {{ n_rejected }}, ' of ', {{ n_rows }}, ' rows of ', {{ rows }}, ' would be rejected, for instance as ',
            {{ reason }}, '; max_rejected_share is {{ var("max_rejected_share") }}: correct the delivery, or allow more; nothing was changed'
        )
    {%- endset -%}
    case
        when {{ n_rows }} >= 100 and {{ n_rejected }} > {{ var("max_rejected_share") }} * {{ n_rows }}
        then {{ fail_query(what) }}
        else {{ value }}
    end
{%- endmacro %}
