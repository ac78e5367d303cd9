{# Bridge to the operations of python/life_stage/operations, which `life-stage` and the hooks of a run call. #}
{% macro operate(operation, arguments={}) %}
    {# Runs an operation in this process, which holds lock and connection, with the facts that only dbt knows. A macro
       <operation>_arguments adds arguments of its own. #}
    {% do fail_on_spark("life-stage " ~ operation | replace("_", "-")) %}
    {% if is_package() %} {% do modules.life_stage.attach(adapter) %} {% endif %}
    {% set own = context.get(operation ~ "_arguments", dict)() %}
    {% if operation != "migrate" %} {% do check_settings() %} {% endif %}
    {% set derived = [] %}
    {% for node in own_nodes() if modules.life_stage.is_derived(node) %}
        {% do derived.extend([node.name, node.name ~ "_cells"]) %}
    {% endfor %}
    {% set facts = {
        "schema": own_schema(),
        "run_id": invocation_id,
        "started_at": run_started_at.strftime("%Y-%m-%d %H:%M:%S.%f"),
        "created": [create_build_log(), create_project_state(), create_node_hashes()] + create_tombstones(),
        "derived": derived,
        "recursive": recursive_models() | sum(start=[]),
        "first_month": archived_before(),
        "action_hash": order_free_hash(action_contents(), "reasons is null and not is_duplicate"),
    } %}
    {% do drop_leftovers() %} {% do commit_so_far() %}
    {% set config = {"facts": facts, "arguments": dict(own, **arguments)} %}
    {% do adapter.store_relation("operations", build_log(), [], "", operation, config) %}
{% endmacro %}

{% macro erase_arguments() %}
    {# SQL of a given id as text, and as in the tables. #}
    {% do return({"cleaned": plain_user_id_of("user_id"), "stored": user_id_of("user_id")}) %}
{% endmacro %}

{% macro erase_without_consent_arguments() %}
    {# SQL of the users with consent, and the limit of a revocation. #}
    {% do return(
        {
            "consenting": consenting_users(),
            "purpose": setting("consents_purpose"),
            "max_share": setting("consents_max_withdrawn_share"),
            "today": clock_text()[:10],
        }
    ) %}
{% endmacro %}

{% macro drop_old_months_arguments() %}
    {# The months to keep and the tables of each layer with limited retention. #}
    {% set found = {} %}
    {% for layer, months in layers().items() %}
        {% set tables = [] %}
        {% for node in own_nodes() if node.config.get("meta", {}).get("keep") == layer %}
            {% if adapter.get_relation(target.database, node.schema, node.alias) %}
                {% do tables.append(node.relation_name) %}
            {% endif %}
        {% endfor %}
        {% do found.update({layer: {"months": months, "tables": tables}}) %}
    {% endfor %}
    {% do return({"layers": found}) %}
{% endmacro %}

{% macro migrate_arguments() %}
    {# The versions of the stored tables and of the project, and the columns that migrations add. #}
    {% set household_weights = {
        "model_version": "string",
        "first_stage": "string",
        "n_families": "bigint",
        "n_unregistered": "bigint",
    } %}
    {% for name in household_figures() %} {% do household_weights.update({name: "double"}) %} {% endfor %}
    {% do return(
        {
            "found": state_version_found(),
            "wanted": state_version(),
            "bins": age_bins() | map(attribute="name") | list,
            "readout_terms": readout_term_columns().keys() | list,
            "birth_month_state": birth_month_state(),
            "household_weights": household_weights,
        }
    ) %}
{% endmacro %}

{% macro write_pseudonyms_arguments() %}
    {# SQL of all user ids of the source, and of the pseudonym of an id. #}
    {% set ids = [] %}
    {% for table in ["actions", "children", "consents"] if has_source(table) %}
        {% do ids.append("select " ~ plain_user_id_of("user_id") ~ " as id from (" ~ source_rows(table) ~ ")") %}
    {% endfor %}
    {% do return({"ids": ids | join(" union all "), "pseudonym": pseudonym("id")}) %}
{% endmacro %}
