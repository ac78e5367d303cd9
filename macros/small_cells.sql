{# Counts that leave the project must not point at few people. #}
{% macro is_small_cell(n_users, within, key) -%}
    {#- SQL: whether a count is of too few users; where only one of a group is, the next smallest is hidden too, or the group's
       sum would give it away. -#}
    {%- set is_small = n_users ~ " < " ~ var("min_cell_users") -%}
    (
        {{ is_small }}
        or sum(case when {{ is_small }} then 1 else 0 end) over (partition by {{ within }}) = 1
        and row_number() over (
            partition by {{ within }} order by case when {{ is_small }} then 1 else 0 end, {{ n_users }}, {{ key }}
        )
        = 1
    )
{%- endmacro %}
