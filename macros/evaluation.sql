{# What the evaluation tables share: the error of a mean over users, and the bins of calibration. #}
{% macro error_of_mean(residual, weight) -%}
    {#- SQL, over one row per user: the standard error of a ratio of sums. residual: the user's sum minus what the ratio
        lets expect; weight: what the sums are divided by, none if the residuals are divided already. -#}
    case
        when count(*) > 1
        then
            sqrt(sum({{ exact("power(" ~ residual ~ ", 2) * 1048576.0") }}) / 1048576.0 * count(*) / (count(*) - 1))
            {%- if weight %} / sum({{ weight }}) {%- endif %}
    end
{%- endmacro %}

{% macro probability_bin(probability) -%} cast(least(floor({{ probability }} * 15), 14) as integer) {%- endmacro %}
