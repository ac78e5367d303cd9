-- Life stages in age order, one row per stage, for joins and for sorting in reports.
{% do after_checks() %}
{% for stage in stages() %}
    select
        {{ loop.index }} as stage_no,
        '{{ stage.name }}' as stage,
        {{ stage.from_month }} as from_month,
        {{ stage.to_month }} as to_month
    {% if not loop.last %}
        union all
    {% endif %}
{% endfor %}
