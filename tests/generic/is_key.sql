{# Unique key: the columns identify every row, and only those in `nullable` may be null.
   With new_months_only the test reads only months that no finished run has tested. #}
{% test is_key(model, columns, nullable=[], new_months_only=false) %}
    {% set runs = load_relation(own_table("model_runs")) if execute and new_months_only else none %}
    select {{ columns | join(", ") }}, count(*) as n_rows
    from {{ model }}
    {% if runs %}
        where
            month in (select month from {{ build_log() }} where run_id not in (select run_id from {{ finished(runs) }}))
    {% endif %}
    group by {{ columns | join(", ") }}
    having count(*) > 1 {% for column in columns if column not in nullable %} or {{ column }} is null {% endfor %}
{% endtest %}
