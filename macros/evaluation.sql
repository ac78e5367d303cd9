{# Macros of the evaluation tables: the standard error of a mean over users, and the bins of calibration. #}
{% macro error_of_mean(residual) -%}
    {#- SQL, over one row per user: the standard error of a ratio of sums. residual: the user's sum minus its
        expectation under the ratio, divided by the sum in the denominator; rounded, so that the squares add up
        exactly. -#}
    case
        when count(*) > 1
        then sqrt(sum({{ exact("power(" ~ residual ~ ", 2) * 1048576.0") }}) / 1048576.0 * count(*) / (count(*) - 1))
    end
{%- endmacro %}

{% macro cohort_dimension(cohort) -%}
    {#- SQL: the division of user-months that a cohort belongs to. -#}
    case
        when {{ cohort }} = 'all'
        then 'none'
        when {{ cohort }} in ('active month', 'empty month')
        then 'month'
        when {{ cohort }} like 'history%'
        then 'history'
        else 'window'
    end
{%- endmacro %}

{% macro probability_bin(probability) -%}
    {#- SQL: the calibration bin of a probability, 0 to 14. -#}
    cast(least(floor({{ probability }} * 15), 14) as integer)
{%- endmacro %}
