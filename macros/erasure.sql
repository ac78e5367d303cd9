{# Erasure of users, on request or without consent: their rows leave every table and every published file. #}
{% macro erased_users() %}
    {# The table of tombstones, one row per erased user. #}
    {% do return(api.Relation.create(target.database or none, target.schema, "erased_users", type="table")) %}
{% endmacro %}

{% macro erased_action_hashes() %}
    {# The table of what erased actions added to the content hashes of their months. #}
    {% do return(api.Relation.create(target.database or none, target.schema, "erased_action_hashes", type="table")) %}
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

{% macro excluded_users(users, consents) %}
    {# SQL: users to exclude, with the reason, one row per user. #}
    select user_id, case when is_erased then 'user_erased' else 'no_consent' end as reason
    from
        (
            select
                users.user_id,
                {{ is_erased("users.user_id") }} as is_erased,
                {{ "consents.user_id is not null" if has_source("consents") else "true" }} as has_consent
            from ({{ users }}) as users
            left join {{ consents }} as consents on users.user_id = consents.user_id
        ) as checked_users
    where is_erased or not has_consent
{% endmacro %}
