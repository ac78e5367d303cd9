{# Population stability index between two groups of users per feature, with its levels ok, warn and error. #}
{% macro stability_levels(paired) -%}
    {#- SQL: one row per month and feature. paired: a CTE of month, feature, n_users and n_users_before, one row per
        band. Half a user is added to every band, so that none is empty. by_chance is the expected index without any
        change: it falls with the number of users. Numbers with an exponent are doubles, on Spark too. -#}
    select
        *,
        case
            when stability_index > {{ error_threshold() }}
            then 'error'
            when stability_index > 0.1 + 3 * by_chance
            then 'warn'
            else 'ok'
        end as level
    from
        (
            select
                month,
                feature,
                sum({{ exact("(share - share_before) * ln(share / share_before)") }}) as stability_index,
                max((n_bands - 1) * (1e0 / n_all + 1e0 / n_all_before)) as by_chance
            from
                (
                    select
                        *,
                        (n_users + 5e-1) / (n_all + 5e-1 * n_bands) as share,
                        (n_users_before + 5e-1) / (n_all_before + 5e-1 * n_bands) as share_before
                    from
                        (
                            select
                                *,
                                count(*) over (partition by month, feature) as n_bands,
                                sum(n_users) over (partition by month, feature) as n_all,
                                sum(n_users_before) over (partition by month, feature) as n_all_before
                            from {{ paired }}
                        ) as counted
                ) as shares
            where n_all > 0 and n_all_before > 0
            group by month, feature
        ) as indices
{%- endmacro %}

{% macro error_threshold() -%}
    {#- SQL: the stability index above which the level is error. -#}
    (0.25 + 3 * by_chance)
{%- endmacro %}
