{# Validation of raw actions: types and rejection reasons, for the inventory of files and for staging. #}
{% macro typed_action_columns(user_id) -%}
    {#- SQL: the columns of raw_actions, with their time in UTC, and of its synonyms, in the types of the project. -#}
    raw_actions.source_file,
    {{ id_of("raw_actions.action_id") }} as action_id,
    {{ user_id }} as user_id,
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
                    and not coalesce(quantity between 1 and {{ setting("rejections_max_quantity") }}, false)
                then 'quantity_absurd'
            end
        ),
        ''
    )
{%- endmacro %}

{% macro validation_rules() %}
    {# The validation rules as text. A change makes every file be read and validated again. #}
    {% if not execute %} {% do return("") %} {% endif %}
    {# No ref: preflight checks call this before any model is built. #}
    {% set synonyms = api.Relation.create(target.database or none, target.schema, "action_synonyms") %}
    {% set words = "select " ~ order_free_hash(["word", "action"]) ~ " as words from " ~ synonyms %}
    {% do return(
        run_query(words).rows[0]["words"]
        ~ " "
        ~ setting("rejections_max_quantity")
        ~ " "
        ~ setting("source_date_order")
    ) %}
{% endmacro %}

{% macro fail_if_too_many_rejected(value, rows, n_rejected, n_rows, reason) -%}
    {#- SQL: the value, or an error if more than rejections_max_share of the rows would be rejected: that is a broken
        delivery. Below 100 rows the share is not reliable. -#}
    {%- set what -%}
        concat(
            'LS-SRC-007 ', {{ n_rejected }}, ' of ', {{ n_rows }}, ' rows of ', {{ rows }}, ' would be rejected, for instance as ',
            {{ reason }}, '; rejections_max_share is {{ setting("rejections_max_share") }}: correct the delivery, or allow more; nothing was changed'
        )
    {%- endset -%}
    case
        when {{ n_rows }} >= 100 and {{ n_rejected }} > {{ setting("rejections_max_share") }} * {{ n_rows }}
        then {{ fail_query(what) }}
        else {{ value }}
    end
{%- endmacro %}
