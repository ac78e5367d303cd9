{# A running state carried from month to month: the model's SQL is one month, run once per pending month, oldest first.
   meta.state names a macro that returns {column: type} of the carried state. It is wide, so it lives in a table of its
   own beside the model, and only for the newest month and every December: there a change in an older month restarts. #}
{% macro state_relation() %}
    {% do return(api.Relation.create(this.database, this.schema, this.identifier ~ "_cells", type="table")) %}
{% endmacro %}

{% macro beliefs_before() -%}
    (select * from {{ state_relation() }} where month = date '__previous_month__')
{%- endmacro %}

{% macro chained(wanted) %}
    {# Fingerprints made cumulative: a month counts as built only from the very history it was built from, so that a
       fold killed half-way never leaves later months that look right. #}
    {% set before, rows = namespace(fingerprint="", month="1900-01-01"), [] %}
    {% for row in wanted %}
        {% if row.fingerprint is not none %}
            {% set before.fingerprint = local_md5(before.fingerprint ~ row.fingerprint) %}
        {% endif %}
        {% do rows.append(dict(row, previous_month=before.month, fingerprint=before.fingerprint)) %}
        {% set before.month = row.month %}
    {% endfor %}
    {% do return(rows) %}
{% endmacro %}

{% macro months_to_fold(rows, built, built_state) %}
    {# All months after the newest usable state before the first change; those before the change only rebuild the state. #}
    {% set changed, restart = [], namespace(at=0) %}
    {% for row in rows if row.fingerprint and (changed or built.get(row.month) != row.fingerprint) %}
        {% do changed.append(row.month) %}
    {% endfor %}
    {% for row in rows %}
        {% if row.month not in changed and built_state.get(row.month) == row.fingerprint %}
            {% set restart.at = loop.index %}
        {% endif %}
    {% endfor %}
    {% do return((rows[restart.at :] if changed else [], changed)) %}
{% endmacro %}

{% materialization monthly_fold, default %}
    {% set target_relation, state_table = this.incorporate(type="table"), state_relation() %}
    {% set step_table = api.Relation.create(this.database, this.schema, this.identifier ~ "_step", type="table") %}
    {% set state_types = context[config.get("meta").state]() %}
    {% set state_columns = state_types.keys() | join(", ") %}
    {% set wanted = months_wanted() %}
    {% set rows = chained(wanted) %}
    {% set folding, changed = months_to_fold(
        rows, fingerprints_of(this.identifier), fingerprints_of(state_table.identifier)
    ) %}
    {% set timer = namespace(start=modules.datetime.datetime.now(), shown=modules.datetime.datetime.now()) %}
    {{ run_hooks(pre_hooks) }}
    {% call statement("state") %}
        create table if not exists {{ state_table }} (
        {% for name, type in state_types.items() %}
            {{ name }} {{ type }}
            {%- if not loop.last %},{% endif %}
        {% endfor %}
        )
    {% endcall %}
    {% do adapter.commit() %}
    {% set published = [] %}
    {% for column in adapter.get_column_schema_from_query(sql_of_month(sql, rows[0])) if not column.name.startswith("c_") %}
        {% do published.append(column.name) %}
    {% endfor %}
    {% set published = published | join(", ") %}
    {% do create_when_absent(
        target_relation, "select " ~ published ~ " from (" ~ sql_of_month(sql, rows[0]) ~ ") as month"
    ) %}
    {% do forget_unwanted(target_relation, wanted, fingerprints_of(this.identifier)) %}
    {% do forget_unwanted(state_table, wanted, fingerprints_of(state_table.identifier)) %}
    {% for row in folding %}
        {% do show_progress(timer, row, loop.index, folding | length) %}
        {% call statement("month") %}
            drop table if exists {{ step_table }};
            create table {{ step_table }} as {{ sql_of_month(sql, row) }};
            {% if row.month in changed %}
                {{ replace_month(target_relation, row.month, "select " ~ published ~ " from " ~ step_table) }}
                {{ record_month(this.identifier, row.month, row.fingerprint) }}
            {% endif %}
            {{ replace_month(state_table, row.month, "select " ~ state_columns ~ " from " ~ step_table) }}
            {{ record_month(state_table.identifier, row.month, row.fingerprint) }}
            {% if row.previous_month[5:7] != "12" %} {{ forget_month(state_table, row.previous_month) }} {% endif %}
            drop table {{ step_table }};
        {% endcall %}
        {% do adapter.commit() %}
    {% endfor %}
    {% call noop_statement("main", changed | length ~ " months", "FOLD", changed | length) %} {% endcall %}
    {{ run_hooks(post_hooks) }}
    {% do persist_docs(target_relation, model) %}
    {{ return({"relations": [target_relation]}) }}
{% endmaterialization %}
