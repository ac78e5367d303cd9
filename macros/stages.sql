{# Stages, age bins and grid points: the three divisions of a child's age, from the lists in dbt_project.yml. #}
{% macro stages() %}
    {# The stages in age order. With infer_pregnancy false the list begins at birth. #}
    {% do return(
        var("stages") if var("infer_pregnancy") else var("stages") | selectattr("to_month", "gt", 0) | list
    ) %}
{% endmacro %}

{% macro stage_names() %}
    {# The names of the stages in age order. #}
    {% do return(stages() | map(attribute="name") | list) %}
{% endmacro %}

{% macro age_bins() %}
    {# The bins of the regression in age order: {name, from_month, to_month}; `not_yet` and `grown` lie outside every
       stage. #}
    {% set edges = var("age_bin_edges") | list %}
    {% for stage in stages() %} {% do edges.extend([stage.from_month, stage.to_month]) %} {% endfor %}
    {% set edges, bins = edges | unique | sort | list, [] %}
    {% set edges = edges[:1] + (edges[1:] | select("ge", stages()[0].from_month) | list) %}
    {% set names = age_names(edges) %}
    {% for from_month in edges[:-1] %}
        {% set name = "not_yet" if loop.first else "grown" if loop.last else names[loop.index0] %}
        {% do bins.append({"name": name, "from_month": from_month, "to_month": edges[loop.index]}) %}
    {% endfor %}
    {% do return(bins) %}
{% endmacro %}

{% macro age_names(ages) %}
    {# Column suffixes of ages. One call takes many ages, because the call is the expensive part. #}
    {% set names = [] %}
    {% for months in ages %} {% do names.append(("m" ~ -months) if months < 0 else months | string) %} {% endfor %}
    {% do return(names) %}
{% endmacro %}

{% macro cell_ages() %}
    {# Ages in months with a grid point: from the first stage to the end of the last age bin. #}
    {% do return(range(stages()[0].from_month, age_bins()[-1].to_month) | list) %}
{% endmacro %}

{% macro cells() %}
    {# Column suffixes of all grid points in age order: not_yet, one per age, graduated. #}
    {% do return(["not_yet"] + age_names(cell_ages()) + ["graduated"]) %}
{% endmacro %}

{% macro log_likelihood_by_age(table="log_likelihoods") %}
    {# SQL for each of cell_ages(): its log-likelihood in the table's columns ll_<bin>, by linear interpolation between the centres of the two adjacent
       age bins, which is more accurate than a step function (docs/method.md). Beyond the outer centres it is constant.
       #}
    {% set bins, centres, found = age_bins(), [], [] %}
    {% for bin in bins %} {% do centres.append((bin.from_month + bin.to_month - 1) / 2) %} {% endfor %}
    {% for age in cell_ages() %}
        {% set n = [centres | select("lt", age) | list | length, bins | length - 1] | min %}
        {% if n == 0 or age >= centres[n] %} {% do found.append(table ~ ".ll_" ~ bins[n].name) %}
        {% else %}
            {% set weight = (age - centres[n - 1]) / (centres[n] - centres[n - 1]) %}
            {% set younger, older = table ~ ".ll_" ~ bins[n - 1].name, table ~ ".ll_" ~ bins[n].name %}
            {% do found.append((1 - weight) ~ " * " ~ younger ~ " + " ~ weight ~ " * " ~ older) %}
        {% endif %}
    {% endfor %}
    {% do return(found) %}
{% endmacro %}

{% macro log_likelihood_at_age(age, table="log_likelihoods") -%}
    {#- SQL: the log-likelihood of an age given by a column; outside the grid that of the outer age bins. -#}
    {%- set log_likelihoods = log_likelihood_by_age(table) -%}
    case
        when {{ age }} < {{ cell_ages()[0] }}
        then {{ table }}.ll_not_yet
        {%- for known in cell_ages() %}
            when {{ age }} = {{ known }} then {{ log_likelihoods[loop.index0] }}
        {%- endfor %}
        else {{ table }}.ll_grown
    end
{%- endmacro %}

{% macro entropy(prefix, names) -%}
    {#- SQL: the entropy of shares that sum to 1; a share of zero adds nothing. -#}
    - (
        {%- for name in names -%}
            {{ prefix }}{{ name }} * ln(greatest({{ prefix }}{{ name }}, 1e-300)) {%- if not loop.last %} + {% endif -%}
        {%- endfor -%}
    )
{%- endmacro %}

{% macro mix_with_registration(condition, inferred) -%}
    {#- SQL: mixture of the registered birthday, by registration_weight, and the inferred probability. -#}
    registration_weight * case when {{ condition }} then cast(1 as double) else cast(0 as double) end
    + (1 - registration_weight) * {{ inferred }}
{%- endmacro %}

{% macro stage_mass(prefix, stage) -%}
    {#- SQL: the sum over the age bins of a stage. -#}
    (
        {%- for bin in age_bins() if stage.from_month <= bin.from_month and bin.to_month <= stage.to_month -%}
            {{ prefix }}{{ bin.name }} {%- if not loop.last %} + {% endif -%}
        {%- endfor -%}
    )
{%- endmacro %}

{% macro mean_over_stage(prefix, stage, factor="") -%}
    {#- SQL: the mean over a stage's months of age of a value that is constant within each age bin. -#}
    (
        {%- for bin in age_bins() if stage.from_month <= bin.from_month and bin.to_month <= stage.to_month -%}
            {{ bin.to_month - bin.from_month }} * {{ exact(factor ~ prefix ~ bin.name) }}
            {%- if not loop.last %} + {% endif -%}
        {%- endfor -%}
    )
    / {{ stage.to_month - stage.from_month }}
{%- endmacro %}

{% macro weighted_mean(prefix, weight, names) -%}
    {#- SQL: the mean of columns by the weights of others; 0 where all weights are 0. -#}
    (
        {%- for name in names -%}
            {{ prefix }}{{ name }} * {{ weight }}{{ name }} {%- if not loop.last %} + {% endif -%}
        {%- endfor -%}
    )
    / greatest({{ sum_of(weight, names) }}, 1e-300)
{%- endmacro %}

{% macro cells_within(from_month, to_month) %}
    {# Column suffixes of the grid points from one age to another, exclusive. #}
    {% set ages = [] %}
    {% for age in cell_ages() if from_month <= age < to_month %} {% do ages.append(age) %} {% endfor %}
    {% do return(age_names(ages)) %}
{% endmacro %}

{% macro sum_of(prefix, names) -%}
    {#- SQL: the sum of the columns, in blocks of 12, because a chain of 120 additions is slow to plan. -#}
    {%- if not names -%} 0.0 {%- endif -%}
    {%- for block in names | batch(12) -%}
        ({%- for name in block -%}{{ prefix }}{{ name }} {%- if not loop.last %} + {% endif -%} {%- endfor -%})
        {%- if not loop.last %} + {% endif -%}
    {%- endfor -%}
{%- endmacro %}

{% macro prenatal_stages() %}
    {# Names of the stages before birth; without any, a list with an empty name, which is valid in SQL. #}
    {% do return(stages() | selectattr("from_month", "lt", 0) | map(attribute="name") | list or [""]) %}
{% endmacro %}

{% macro first_greatest(prefix, names, digits=none) -%}
    {#- SQL: the name of the largest column, the first of equal ones; `digits` rounds before the comparison. -#}
    {%- set columns = [] -%}
    {%- for name in names -%}
        {%- do columns.append(prefix ~ name if digits is none else "round(" ~ prefix ~ name ~ ", " ~ digits ~ ")") -%}
    {%- endfor -%}
    case
        {%- for column in columns %}
            when {{ column }} = greatest({{ columns | join(", ") }}) then '{{ names[loop.index0] }}'
        {%- endfor %}
    end
{%- endmacro %}

{% macro stage_at(age_months) -%}
    {#- SQL: the name of the stage at that age; null: none. -#}
    case
        {%- for stage in stages() %}
            when {{ age_months }} >= {{ stage.from_month }} and {{ age_months }} < {{ stage.to_month }}
            then '{{ stage.name }}'
        {%- endfor %}
    end
{%- endmacro %}

{% macro months_between(later, earlier) -%}
    {#- SQL: the number of months between two dates. -#}
    ((year({{ later }}) - year({{ earlier }})) * 12 + month({{ later }}) - month({{ earlier }}))
{%- endmacro %}

{% macro month_of(time) -%}
    {#- SQL: the first day of the month of a time. -#}
    cast(date_trunc('month', {{ time }}) as date)
{%- endmacro %}
