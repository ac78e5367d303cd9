{# Suppression of counts that leave the project, so that none points at few users. #}
{% macro is_suppressed_count(n_users, within, key) -%}
    {#- SQL: true if a count is suppressed: below var marts_min_cell_users, or needed to protect such counts of its group.
        The sum of a group reveals the sum of its suppressed counts, so the smallest are suppressed until they are
        enough. -#}
    (
        {{ n_users }} < {{ setting("marts_min_cell_users") }}
        or min({{ n_users }}) over (partition by {{ within }}) < {{ setting("marts_min_cell_users") }}
        and coalesce(
            sum({{ n_users }}) over (
                partition by {{ within }}
                order by {{ n_users }}, {{ key }}
                rows between unbounded preceding and 1 preceding
            ),
            0
        )
        < {{ setting("marts_min_cell_users") }}
    )
{%- endmacro %}

{% macro suppressed_if_small(n_users) -%}
    {#- SQL: a single count, null below var marts_min_cell_users; zero is published. -#}
    case when {{ n_users }} = 0 or {{ n_users }} >= {{ setting("marts_min_cell_users") }} then {{ n_users }} end
{%- endmacro %}
