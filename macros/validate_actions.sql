{# Validation of raw actions: types and rejection reasons, for the inventory of files and for staging. #}
{% macro is_action_word() -%}
    {#- SQL: true if a row of synonyms is the word or the code of an action of raw_actions. A number is an action only in
        the log of var source_action_codes: logs number them differently. -#}
    replace(replace(lower(trim(raw_actions.action)), ' ', '_'), '-', '_') = synonyms.word
    and coalesce(synonyms.log, '') in ('', '{{ setting("source_action_codes") }}')
{%- endmacro %}

{% macro typed_action_columns(user_id) -%}
    {#- SQL: the columns of raw_actions, with their time in UTC, and of its synonyms, in the types of the project. -#}
    raw_actions.source_file,
    {{ id_of("raw_actions.action_id") }} as action_id,
    {{ user_id }} as user_id,
    raw_actions.utc_time as occurred_at,
    coalesce(synonyms.action, 'unknown') as action,
    {{ id_of("raw_actions.item_id") }} as item_id,
    nullif(trim(raw_actions.search_term), '') as search_term,
    {{ number_of("raw_actions.quantity") }} as quantity,
    raw_actions.session_id,
    raw_actions.device,
    {{ number_of("raw_actions.dwell_seconds") }} as dwell_seconds,
    {{ price_of("raw_actions.price") }} as price,
    cast(raw_actions.occurred_at as string) as raw_occurred_at,
    raw_actions.action as raw_action,
    nullif(trim(raw_actions.quantity), '') as raw_quantity
{%- endmacro %}

{% macro readings_of_action() -%}
    {#- SQL: what was read of raw_actions and what could not be. -#}
    {{
        readings(
            {
                "action_id": ["raw_actions.action_id", none],
                "user_id": ["raw_actions.user_id", none],
                "item_id": ["raw_actions.item_id", none],
                "quantity": ["raw_actions.quantity", number_of("raw_actions.quantity")],
                "dwell_seconds": ["raw_actions.dwell_seconds", number_of("raw_actions.dwell_seconds")],
                "price": ["raw_actions.price", price_of("raw_actions.price")],
            }
        )
    }}
{%- endmacro %}

{% macro action_rejection_reasons(history_from="timestamp '2000-01-01'") -%}
    {#- SQL: all rejection reasons of a typed row, separated by blanks; null: the row is valid. An ignored action is
        rejected for that alone. -#}
    case
        when action = 'ignored'
        then 'action_ignored'
        else
            nullif(
                concat_ws(
                    ' ',
                    case when action_id is null then 'action_id_missing' end,
                    case when user_id is null then 'user_missing' end,
                    case when occurred_at is null then 'time_unreadable' end,
                    case when occurred_at < timestamp '2000-01-01' then 'time_before_2000' end,
                    case
                        when
                            occurred_at >= timestamp '2000-01-01'
                            and {{ business_time("occurred_at") }} < {{ history_from }}
                        then 'time_before_history'
                    end,
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
    end
{%- endmacro %}

{% macro example_of_reason() -%}
    {#- SQL: what was delivered in place of a known action, a time or a quantity, without personal data. -#}
    case
        when action = 'unknown'
        then substring(raw_action, 1, 25)
        when occurred_at is null
        then {{ shape_of("raw_occurred_at") }}
        when reasons like '%quantity_absurd%'
        then {{ shape_of("raw_quantity") }}
    end
{%- endmacro %}

{% macro validation_rules() %}
    {# The validation rules as text. A change makes every file be read and validated again. #}
    {% if not execute %} {% do return("") %} {% endif %}
    {# No ref: preflight checks call this before any model is built. #}
    {% set synonyms = own_table("action_synonyms") %}
    {% set words = "select " ~ order_free_hash(["word", "action"]) ~ " as words from " ~ synonyms %}
    {% set rules = [setting("rejections_max_quantity"), setting("source_action_codes"), setting("source_date_order")] %}
    {% do rules.append(local_md5(setting("source_placeholder_ids") | join(" "))) %}
    {% set mapping = mapping_of("actions") %}
    {% if mapping %} {% do rules.append(local_md5(mapping.sql ~ mapping.columns)) %} {% endif %}
    {% do return(run_query(words).rows[0]["words"] ~ " " ~ rules | join(" ") | trim) %}
{% endmacro %}
