{# Feature groups of var `features`: those of items, of search terms and of users' months. #}
{% macro feature_groups(shape) %}
    {# The feature groups with exactly these columns, in alphabetical order. Any other set of columns stops the run. #}
    {% set found = [] %}
    {% for name in var("features") %}
        {% set relation = ref(name) %}
        {% if execute %}
            {% set columns = adapter.get_columns_in_relation(relation) | map(attribute="name") | sort %}
            {% set wrong = modules.life_stage.wrong_columns_of_group(name, columns) %}
            {% if wrong %} {% do exceptions.raise_compiler_error(wrong) %} {% endif %}
            {% if columns == shape %} {% do found.append(name) %} {% endif %}
        {% endif %}
    {% endfor %}
    {% do return(found) %}
{% endmacro %}

{% macro named_feature(family) -%}
    {#- SQL: the feature, checked. An empty name would mean the intercept, `last_year:` the same month a year before.
        -#}
    case
        when feature is null or feature = '' or feature like 'last_year:%'
        then
            {{
                fail_query(
                    "'LS-FEA-005 models/life_stage/features/"
                    ~ family
                    ~ ".sql returns a feature that is null, empty or begins with last_year: name it group=value, exclude rows without a feature; the month was not written'"
                )
            }}
        else feature
    end
{%- endmacro %}

{% macro finite_value(family) -%}
    {#- SQL: the value, checked. NaN, infinity and null would spread to every score of the user, so they stop the run.
        -#}
    case
        when value - value = 0
        then cast(value as double)
        else
            cast(
                {{
                    fail_query(
                        "'LS-FEA-003 models/life_stage/features/"
                        ~ family
                        ~ ".sql returns a value that is NaN, infinite or null: exclude such rows; the month was not written'"
                    )
                }}
                as double
            )
    end
{%- endmacro %}

{% macro only_value(family) -%}
    {#- SQL: the only value of a user, month and feature. A second one stops the run: either could be meant. -#}
    case
        when count(*) = 1
        then max({{ finite_value(family) }})
        else
            cast(
                {{
                    fail_query(
                        "'LS-FEA-009 models/life_stage/features/"
                        ~ family
                        ~ ".sql returns a feature several times for one user and month: group by user_id and month; the month was not written'"
                    )
                }}
                as double
            )
    end
{%- endmacro %}

{% macro features_hash() %}
    {# The hash of the feature groups and their files. A change makes every month be counted again. #}
    {% set texts = [] %}
    {% for node in own_nodes() if node.name in var("features") %}
        {% do texts.append(node.name ~ node.checksum.checksum) %}
    {% endfor %}
    {% do return(local_md5(texts | sort | join(" "))) %}
{% endmacro %}
