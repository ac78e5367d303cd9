{# Suppression of counts that leave the project, so that none points at few users. #}
{% macro is_suppressed_count(n_users, within, key) -%}
    {#- SQL: whether a count is to be hidden: it is of too few users, or it must hide those of its group that are. A group with
       a known sum gives the sum of its hidden counts away, so the smallest are hidden until they are enough together. -#}
    (
        {{ n_users }} < {{ var("min_cell_users") }}
        or min({{ n_users }}) over (partition by {{ within }}) < {{ var("min_cell_users") }}
        and coalesce(
            sum({{ n_users }}) over (
                partition by {{ within }}
                order by {{ n_users }}, {{ key }}
                rows between unbounded preceding and 1 preceding
            ),
            0
        )
        < {{ var("min_cell_users") }}
    )
{%- endmacro %}

{% macro suppressed_if_small(n_users) -%}
    {#- SQL: a count that stands alone, null when it is of few users; none is nobody. -#}
    case when {{ n_users }} = 0 or {{ n_users }} >= {{ var("min_cell_users") }} then {{ n_users }} end
{%- endmacro %}
