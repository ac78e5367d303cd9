{# Facts of the run itself: its clock, its zone, what it says at its end. #}
{% macro clock() -%}
    {#- Now, as a UTC timestamp literal; var run_clock fixes it for tests and replays. -#}
    timestamp '{{ var("run_clock") or run_started_at.strftime("%Y-%m-%d %H:%M:%S") }}'
{%- endmacro %}

{% macro business_timezone() -%} {{ return(var("business_timezone")) }} {%- endmacro %}

{% macro report_after_run() %}
    {# Without a model the run still ends well: it says what is missing to train one. #}
    {% set models, training_rows = ref("stage_models"), ref("training_rows") %}
    {% if execute and load_relation(models) and run_query("select count(*) as n from " ~ models).rows[0]["n"] == 0 %}
        {% set n_users = run_query("select count(distinct user_id) as n from " ~ training_rows).rows[0]["n"] %}
        {% do log(
            "LS-ML-001 no model was trained: "
            ~ n_users
            ~ " training users with one registered child, min_training_users is "
            ~ var("min_training_users")
            ~ ", "
            ~ [var("min_training_users") - n_users, 0]
            | max
            ~ " are missing. The quality tables"
            ~ " are built, the stage tables are empty, what was published stays.",
            info=true,
        ) %}
    {% endif %}
{% endmacro %}
