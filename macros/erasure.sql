{# Erasure of users, on request or without consent: their rows leave every table and every published file. #}
{% macro erased_users() %}
    {# The table of tombstones, one row per erased user. #}
    {% do return(own_table("erased_users")) %}
{% endmacro %}

{% macro erased_action_hashes() %}
    {# The table of what erased actions added to the content hashes of their months. #}
    {% do return(own_table("erased_action_hashes")) %}
{% endmacro %}

{% macro create_tombstones() %}
    {# Statements that create the tombstones: digests of erased users, who are never staged again, and the share of
       erased rows in the content hashes of their months, so that the input hash of a month stays the same. #}
    {% do return(
        [
            "create table if not exists "
            ~ erased_users()
            ~ " (user_digest string, salt string, erased_at timestamp)",
            "create table if not exists "
            ~ erased_action_hashes()
            ~ " (month date, content_hash string, last_acted_on date)",
        ]
    ) %}
{% endmacro %}

{% macro is_erased(user_id) -%}
    {#- SQL: true if the user has a tombstone. -#}
    {%- if execute and load_relation(erased_users()) -%}
        {%- set salted = "concat((select max(salt) from " ~ erased_users() ~ "), " ~ user_id ~ ")" -%}
        {{ digest_of(salted) }} in (select user_digest from {{ erased_users() }})
    {%- else -%} false
    {%- endif -%}
{%- endmacro %}

{% macro exclusion_reason(user_id, consenting_user_id) -%}
    {#- SQL: why a user is excluded; null: not at all. A null consenting_user_id means no valid consent. -#}
    case
        when {{ is_erased(user_id) }}
        then 'user_erased'
        {% if has_source("consents") %} when {{ consenting_user_id }} is null then 'no_consent' {% endif %}
    end
{%- endmacro %}
