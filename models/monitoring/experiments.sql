-- Online experiments, one row per entry of var experiments.
{{ config(materialized="view") }}
{% do after_checks() %}
{% for experiment in var("experiments") %}
    {{ "" if loop.first else "union all" }}
    select
        '{{ experiment.name }}' as experiment,
        cast('{{ experiment.first_month }}-01' as date) as first_month,
        cast({{ experiment.treated_share }} as double) as treated_share
{% else %} select '' as experiment, cast(null as date) as first_month, cast(null as double) as treated_share where false
{% endfor %}
