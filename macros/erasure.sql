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

{% macro erase_user(user_id) %}
    {# An operation: dbt run-operation erase_user --args '{user_id: "42"}', or a list of ids. Run it again after a kill.
       With a key, a pseudonym from a table is accepted too. Tombstones then hold digests of pseudonyms alone, because
       digests of plain ids can be guessed. #}
    {% do fail_on_spark("erasing users") %} {% do check_settings() %}
    {% set ids = [user_id] if user_id is string or user_id is not sequence else user_id %}
    {% set user_selects = [] %}
    {% set tables = tables_holding("user_id") %}
    {% for id in ids | map("string") | map("trim") if id %}
        {% set named = id_of(quoted([id])) %}
        {% if not has_id_key() %} {% do user_selects.append("select " ~ named ~ " as user_id") %}
        {% else %}
            {% do user_selects.append("select " ~ pseudonym(named) ~ " as user_id") %}
            {% if tables %}
                {% do user_selects.append(
                    "select user_id from (" ~ users_of(tables) ~ ") as known where user_id = " ~ named
                ) %}
            {% endif %}
        {% endif %}
    {% endfor %}
    {% if not user_selects or user_id is mapping or user_id is none %}
        {% do fail("LS-ERA-001", "no user_id was given", "give one, or a list: --args '{user_id: \"42\"}'") %}
    {% endif %}
    {% set users_sql = "select distinct user_id from (" ~ user_selects | join(" union all ") ~ ") as named" %}
    {% set known = erase_users(users_sql, "user_erased", insert_tombstones()) %}
    {% do log(
        ("erased " ~ known ~ " of " if known else "not found, but excluded from now on: ") ~ ids
        | length ~ " users",
        info=true,
    ) %}
    {% do adapter.store_relation("erasure", users_to_erase(), [], target.path, "warehouse", {}) %}
{% endmacro %}

{% macro insert_tombstones() %}
    {# SQL: one tombstone per user to erase. All digests of a warehouse share a salt, the id of the first operation. #}
    insert into {{ erased_users() }}
    select {{ digest_of("concat(salts.salt, users.user_id)") }}, salts.salt, {{ started_at() }}
    from {{ users_to_erase() }} as users
    cross join (select coalesce(max(salt), '{{ invocation_id }}') as salt from {{ erased_users() }}) as salts
    where {{ digest_of("concat(salts.salt, users.user_id)") }} not in (select user_digest from {{ erased_users() }})
    ;
{% endmacro %}

{% macro erase_users(users_sql, reason, record) %}
    {# The number of erased users whom a table held. Erases the users of `users_sql` in one transaction, with the SQL
       `record`. Published files come first: after a kill in between, the operation must run again. #}
    {% call statement("users_to_erase") %} create or replace table {{ users_to_erase() }} as {{ users_sql }}
    {% endcall %}
    {% do adapter.commit() %}
    {% do drop_leftovers() %}
    {% do run_as_one(create_tombstones()) %}
    {% do adapter.store_relation("erasure", users_to_erase(), [], "", "published", {}) %}
    {% set tables = tables_holding("user_id") %}
    {% set known = (
        run_query(
            "select count(distinct user_id) as n from ("
            ~ users_of(tables)
            ~ ") as known where user_id in (select user_id from "
            ~ users_to_erase()
            ~ ")"
        ).rows[0]["n"]
        if tables
        else 0
    ) %}
    {% call statement("erase") %}
        {{ record }}
        {% if "stg_action_rows" in tables %} {{ erase_actions(reason) }} {% endif %}
        {% if "checkout_queries" in tables %} {{ erase_queries(tables) }} {% endif %}
        {% for table in tables %}
            delete from {{ target.schema }}.{{ adapter.quote(table) }}
            where cast(user_id as string) in (select user_id from {{ users_to_erase() }})
            ;
        {% endfor %}
        {{ erase_unused_terms() }} {{ forget_hashes() | join(";") }}
        ;
    {% endcall %}
    {% do adapter.commit() %}
    {% do return(known) %}
{% endmacro %}

{% macro tables_holding(column) %}
    {# The names of the project's tables that have the column, from the catalogue. #}
    {% do return(run_query(tables_with(column, target.schema)).columns[0].values() | list) %}
{% endmacro %}

{% macro erase_queries(tables_of_users) %}
    {# SQL: erases rows of checkout tables that have a query_id, but no user_id. #}
    {% for table in tables_holding("query_id") if table not in tables_of_users %}
        delete from {{ target.schema }}.{{ adapter.quote(table) }}
        where
            query_id in (
                select query_id
                from {{ target.schema }}.checkout_queries
                where user_id in (select user_id from {{ users_to_erase() }})
            )
        ;
    {% endfor %}
{% endmacro %}

{% macro users_of(tables) %}
    {# SQL: the user ids of all given tables. #}
    {% set selects = [] %}
    {% for table in tables %}
        {% do selects.append(
            "select cast(user_id as string) as user_id from " ~ target.schema ~ "." ~ adapter.quote(table)
        ) %}
    {% endfor %}
    {% do return(selects | join(" union all ")) %}
{% endmacro %}

{% macro erase_actions(reason) %}
    {# SQL: replaces the users' actions by rejected rows with file and reason alone; content hashes of months stay. #}
    {% set rows = target.schema ~ ".stg_action_rows" %}
    {% set theirs = "user_id in (select user_id from " ~ users_to_erase() ~ ")" %}
    {% set counts %}
        select
            month,
            count(case when reasons is null and not is_duplicate then 1 end) as n_actions,
            count(case when reasons is null then 1 end) as n_rejected,
            count(case when is_duplicate then 1 end) as n_duplicates
        from {{ rows }}
        where {{ theirs }}
        group by month
    {% endset %}
    insert into {{ erased_action_hashes() }}
    select
        month,
    {{ order_free_hash(action_contents(), "reasons is null and not is_duplicate") }},
        max(case when reasons is null and not is_duplicate then acted_on end)
    from {{ rows }}
    where {{ theirs }}
    group by month
    having count(case when reasons is null and not is_duplicate then 1 end) > 0
    ;
    {% for table in ["action_months", "month_calendar"] if adapter.get_relation(target.database, target.schema, table) %}
        update {{ target.schema }}.{{ table }} as counts
        set
            n_actions = counts.n_actions - erased.n_actions,
            n_rejected = counts.n_rejected + erased.n_rejected,
            n_duplicates = counts.n_duplicates - erased.n_duplicates
        from ({{ counts }}) as erased
        where counts.month = erased.month
        ;
    {% endfor %}
    insert into {{ rows }} (month, source_file, is_duplicate, reasons)
    select month, source_file, false, '{{ reason }}'
    from {{ rows }}
    where {{ theirs }}
    ;
{% endmacro %}

{% macro erase_unused_terms() %}
    {# SQL: erases search terms that no remaining action holds. #}
    {% set schema, existing = target.schema, [] %}
    {% for table in ["stg_action_rows", "search_terms", "search_words", "text_ages", "stg_item_rows"] %}
        {% if adapter.get_relation(target.database, schema, table) %} {% do existing.append(table) %} {% endif %}
    {% endfor %}
    {% if existing | length == 5 %}
        delete from {{ schema }}.search_terms as terms
        where
            month in (select month from {{ schema }}.stg_action_rows)
            and not exists (
                select 1
                from {{ schema }}.stg_action_rows as actions
                where actions.month = terms.month and actions.search_term = terms.search_term
            )
        ;
        {% for table in tables_holding("search_term") if table not in ["stg_action_rows", "search_terms"] %}
            delete from {{ schema }}.{{ adapter.quote(table) }}
            where search_term not in (select search_term from {{ schema }}.search_terms)
            ;
        {% endfor %}
        delete from {{ schema }}.text_ages
        where
            text not in (select search_term from {{ schema }}.search_terms)
            and text not in (select title from {{ schema }}.stg_item_rows where title is not null)
        ;
    {% endif %}
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
