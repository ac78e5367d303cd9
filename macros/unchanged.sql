{# Models and data tests whose inputs are unchanged are skipped, on DuckDB. The input hash of a node covers its code, the
   project (project_digest in python/life_stage/engine/unchanged.py), its vars, and the contents of its parents. #}
{% macro node_hashes() %}
    {# The table of the hashes of every node: of the inputs it was built from, and of its output. #}
    {% do return(own_table("node_hashes")) %}
{% endmacro %}

{% macro create_node_hashes() %}
    {# SQL: creates the table of hashes. #}
    {% do return(
        "create table if not exists " ~ node_hashes() ~ " (node string, input_hash string, output_hash string)"
    ) %}
{% endmacro %}

{% macro forget_hash(node) %}
    {# SQL: causes the node to be built again. #}
    {% do return("delete from " ~ node_hashes() ~ " where node = '" ~ node ~ "'") %}
{% endmacro %}

{% macro remember_hash(node, input_hash, output_hash) %}
    {# Records that the node was built. #}
    {% set row = " values ('" ~ [node, input_hash, output_hash] | join("', '") ~ "')" %}
    {% do run_as_one([forget_hash(node), "insert into " ~ node_hashes() ~ row]) %}
{% endmacro %}

{% macro known_hashes(nodes) %}
    {# {node: output hash} of these nodes and of the project. #}
    {% set known = {} %}
    {% for row in run_query(output_hashes(nodes)).rows %}
        {% do known.update({row["node"]: row["output_hash"]}) %}
    {% endfor %}
    {% do return(known) %}
{% endmacro %}

{% macro input_hash_of(node) %}
    {# Hash of everything that determines the rows of a node, which is `model` in a materialization. #}
    {% set parents, parts = modules.life_stage.parents_of(node, graph.nodes), [
        node.raw_code,
        invocation_args_dict.get("vars") | string,
    ] %}
    {% set known = known_hashes(parents | map(attribute="name") | list) %}
    {% do parts.append(known["project"]) %}
    {% for parent in parents if not parent.config.meta.grows %}
        {% if parent.resource_type == "seed" %} {% do parts.append(parent.checksum.checksum) %}
        {% elif parent.config.materialized == "incremental" %}
            {# Missing where a run leaves its folder out. #}
            {% set relation = adapter.get_relation(parent.database, parent.schema, parent.alias) %}
            {% do parts.append(contents_of(relation) if relation else none) %}
        {% else %} {% do parts.append(known.get(parent.name)) %}
        {% endif %}
    {% endfor %}
    {% do return(local_md5(parts | join("\n"))) %}
{% endmacro %}

{% macro with_input_hashes(rows) %}
    {# The months with an input hash of the code, the project, the vars and the parents of `model`. #}
    {% if not skips_unchanged() %} {% do return(rows) %} {% endif %}
    {% set inputs, built = modules.life_stage.inputs_by_month(model, graph.nodes), {} %}
    {% set known = known_hashes(inputs.tables) %}
    {% set fixed = inputs.texts + [known["project"], invocation_args_dict.get("vars") | string] %}
    {% for table in inputs.tables %} {% do fixed.append(known.get(table)) %} {% endfor %}
    {% for name, which in inputs.months if name not in built %}
        {% do built.update({name: input_hashes_of(name)}) %}
    {% endfor %}
    {% do return(modules.life_stage.with_input_hashes(rows, fixed, inputs.months, built)) %}
{% endmacro %}

{% macro remember_output() %}
    {# Hook after a model of a host's run, where dbt's own materializations build tables and views: they are built in
       every run, and the tables by month that are derived from them only if their contents changed. #}
    {% if execute and is_package() and model.config.materialized in ("table", "incremental") %}
        {% do check_output(this) %} {% do remember_hash(model.name, "", contents_of(this)) %}
    {% elif execute and is_package() and model.config.materialized == "view" %}
        {% do remember_hash(model.name, "", input_hash_of(model)) %}
    {% endif %}
{% endmacro %}

{% macro contents_of(relation) %}
    {# Hash of the rows of a table, so that equal ones leave its children unchanged. #}
    {% do return(run_query(contents_hash(relation)).rows[0]["contents"]) %}
{% endmacro %}

{% macro is_unchanged(input_hash) %}
    {# True if the node was built from these inputs. A selection of nodes is always built. #}
    {% if invocation_args_dict.get("select") or flags.FULL_REFRESH %} {% do return(false) %} {% endif %}
    {% set sql = "select input_hash from " ~ node_hashes() ~ " where node = '" ~ model.name ~ "'" %}
    {% set known = run_query(sql).columns[0].values() | list %}
    {% do return(
        known == [input_hash] and (model.resource_type == "test" or load_cached_relation(this) is not none)
    ) %}
{% endmacro %}

{% materialization table, adapter = "duckdb", supported_languages = ["sql", "python"] %}
    {# A table, skipped if unchanged, else swapped in when complete. #}
    {% set target_relation, language = this.incorporate(type="table"), model["language"] %}
    {% set new, old, input_hash = (
        make_intermediate_relation(target_relation),
        load_relation(this),
        input_hash_of(model),
    ) %}
    {% if not modules.life_stage.is_always_built(model) and is_unchanged(input_hash) %}
        {% call noop_statement("main", "unchanged", "SKIP", 0) %} {% endcall %}
        {{ return({"relations": [target_relation]}) }}
    {% endif %}
    {{ run_hooks(pre_hooks) }}
    {% do run_as_one([forget_hash(model.name), "drop table if exists " ~ new]) %}
    {% set writing = create_table_as(false, new, model["compiled_code"], language) %}
    {% call statement("main", language=language) %} {{ writing }}{% endcall %}
    {% do check_output(new) %}
    {% set dropping = ["drop " ~ old.type ~ " " ~ old] if old is not none else [] %}
    {% do run_as_one(dropping + ["alter table " ~ new ~ " rename to " ~ this.identifier]) %}
    {{ run_hooks(post_hooks) }}
    {% do persist_docs(target_relation, model) %} {% do commit_so_far() %}
    {% do remember_hash(model.name, input_hash, contents_of(this)) %}
    {{ return({"relations": [target_relation]}) }}
{% endmaterialization %}

{% materialization view, adapter = "duckdb" %}
    {# dbt's view, skipped if unchanged. #}
    {% set input_hash = input_hash_of(model) %}
    {% if is_unchanged(input_hash) %}
        {% call noop_statement("main", "unchanged", "SKIP", 0) %} {% endcall %}
        {{ return({"relations": [this.incorporate(type="view")]}) }}
    {% endif %}
    {% set built = dbt.materialization_view_default() %}
    {% do remember_hash(model.name, input_hash, input_hash) %}
    {{ return(built) }}
{% endmaterialization %}

{% materialization test, adapter = "duckdb" %}
    {# dbt's data test, skipped if it passed and its inputs are unchanged. #}
    {% set input_hash = input_hash_of(model) %}
    {% if is_unchanged(input_hash) %}
        {% call statement("main", fetch_result=true) %}
            select 0 as failures, false as should_warn, false as should_error
        {% endcall %}
        {{ return({"relations": []}) }}
    {% endif %}
    {% set tested = dbt.materialization_test_default() %}
    {% if load_result("main").table.rows[0][0] == 0 %} {% do remember_hash(model.name, input_hash, "") %} {% endif %}
    {{ return(tested) }}
{% endmaterialization %}
