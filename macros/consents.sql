{# Consent checks: with the optional source table consents, only users with valid consent at the run clock stay. #}
{% macro has_source(table) %}
    {# True if the source holds the table, or a mapping names it. #}
    {% if not execute %} {% do return(false) %}
    {% elif reads_models() %} {% do return(input_model(table) != "") %}
    {% elif setting("source_schema") %}
        {% set relation = adapter.get_relation(target.database, setting("source_schema"), table) %}
        {% do return(relation is not none or mapping_of(table) is not none) %}
    {% else %} {% do return(mapping_of(table) is not none or source_files(table) | length > 0) %}
    {% endif %}
{% endmacro %}

{% macro consenting_users() %}
    {# SQL: one row per user with valid consent to the purpose of var consents_purpose. #}
    select user_id, granted_at
    from ({{ valid_consents() }}) as valid
    where purpose = '{{ setting("consents_purpose") }}'
{% endmacro %}

{% macro valid_consents() %}
    {# SQL: one row per user and purpose with valid consent. In doubt there is none: a revocation with an unreadable time
       counts as past, one at the time of a grant counts after it, and one with a date only counts at the end of the
       day. #}
    select user_id, purpose, max(consents.granted_at) as granted_at
    from
        (
            select
                {{ user_id_of("raw_consents.user_id") }} as user_id,
                trim(raw_consents.purpose) as purpose,
                {{ moment("raw_consents.granted_at") }} as granted_at,
                case
                    when nullif(trim(cast(raw_consents.withdrawn_at as string)), '') is not null
                    then coalesce({{ moment("raw_consents.withdrawn_at") }}, {{ clock() }})
                end as withdrawn_at,
                {{ is_date_only("raw_consents.withdrawn_at") }} as is_day
            from ({{ source_rows("consents") }}) as raw_consents
        ) as consents
    where user_id is not null and not {{ is_erased("user_id") }}
    group by user_id, purpose
    having
        max(case when consents.granted_at <= {{ clock() }} then consents.granted_at end) > coalesce(
            max(
                case
                    when withdrawn_at > {{ clock() }}
                    then null
                    when is_day
                    then withdrawn_at + interval '1' day
                    else withdrawn_at
                end
            ),
            timestamp '0001-01-01'
        )
{% endmacro %}

{% macro erase_users_without_consent() %}
    {# Erases the users whose consent was revoked since the last run, before any other step. #}
    {% if has_source("consents") %} {% do operate("erase_without_consent") %}
    {% elif state_of("consents") %}
        {% do fail(
            "LS-CON-002",
            "the source table consents is gone, although earlier runs excluded users by it",
            "restore it, or start a new warehouse by LIFE_STAGE_WAREHOUSE",
        ) %}
    {% else %}
        {% set unread = [] if reads_tables() else files_in_folders_like("consents") %}
        {% if unread or setting("consents_required") %}
            {% do fail(
                "LS-CON-003",
                (unread[0] ~ " is not read" if unread else "the source has no consents"),
                "deliver them as consents.parquet, consents.csv or files in a folder consents",
            ) %}
        {% endif %}
    {% endif %}
{% endmacro %}
