-- Tables of the host project that this package reads, one row per table. Its hook checks them and prepares the run, so
-- all other models wait for it. Without a host project it is disabled.
{{ config(enabled=is_package(), pre_hook="{{ check_before_run() }}") }}
{% for table in ["actions", "items", "children", "consents"] if input_model(table) %}
    select '{{ table }}' as table_name, '{{ source_table(table) }}' as relation
    union all
{% endfor %}
select cast(null as string) as table_name, cast(null as string) as relation
where false
