{# The arithmetic of the birth-month filter: the carried state and its columns. #}
{% macro birth_month_state() %}
    {# One row per user: the running sum of evidence for every birth month, by the age it means this month. Of an
       expected birth: the log-odds that time alone will give it by next month (null: before it is due), the evidence for
       it since it was, and whether it still wants confirming. #}
    {% set columns = {
        "user_id": "string",
        "month": "date",
        "first_month": "date",
        "last_active_month": "date",
        "months_of_evidence": "integer",
        "c_birth_log_odds": "double",
        "c_birth_evidence": "double",
        "c_birth_is_open": "boolean",
    } %}
    {% for cell in cells() %} {% do columns.update({"c_" ~ cell: "double"}) %} {% endfor %}
    {% do return(columns) %}
{% endmacro %}

{% macro pair_state() %}
    {# One row per user: the running sum for every pair of birth months, in the order of life_stage.pair_cells. #}
    {% do return({"user_id": "string", "month": "date", "c_pairs": "binary"}) %}
{% endmacro %}

{% macro exact(expression) -%}
    {#- A multiple of 2^-36: sums of such numbers are exact in double, so the same in any order. -#}
    (round(({{ expression }}) * 68719476736.0) / 68719476736.0)
{%- endmacro %}

{% macro log_odds_of_birth(born) -%}
    {#- SQL: of a born child against a family that does not expect one, as it is after a loss. -#}
    (ln(greatest({{ born }}, 1e-300)) + peak - l_not_yet)
{%- endmacro %}

{% macro age_blocks() %}
    {# The birth-month cells in blocks of 12 ages, so that sums up to an age stay short. #}
    {% set blocks = [] %}
    {% for block in cells()[1:-1] | batch(12) %} {% do blocks.append(block) %} {% endfor %}
    {% do return(blocks) %}
{% endmacro %}

{% macro weight_up_to(age) -%}
    {#- SQL: the weight of this age and all younger ones; b_<n> is the weight of a whole block. -#}
    {%- set place = age - cell_ages()[0] -%}
    {%- for n in range(1, place // 12 + 1) -%} b_{{ n }} + {% endfor -%}
    {{ sum_of("w_", age_blocks()[place // 12][: place % 12 + 1]) }}
{%- endmacro %}

{% macro birth_month_at(share) -%}
    {#- SQL: the birth month with this share of the weight on younger children; null where the child has none or has outgrown all. -#}
    {%- set oldest = "y_" ~ cells()[-2] -%}
    case
        when {{ oldest }} > 0 and not_yet_expecting_probability <= 0.5 and graduated_probability <= 0.5
        then
            {{
                months_after(
                    "month",
                    "-(" ~ cell_ages()[0] ~ " + " ~ ages_below(share ~ " * " ~ oldest, 0, cell_ages() | length) ~ ")",
                )
            }}
    end
{%- endmacro %}

{% macro ages_below(weight, at_least, at_most) -%}
    {#- SQL: how many ages have less than this weight on themselves and all younger ones, by halving; y_<age> only grows. -#}
    {%- if at_least == at_most -%} {{ at_least }}
    {%- else -%}
        {%- set middle = (at_least + at_most) // 2 -%}
        case
            when y_{{ cells()[middle + 1] }} < {{ weight }}
            then {{ ages_below(weight, middle + 1, at_most) }}
            else {{ ages_below(weight, at_least, middle) }}
        end
    {%- endif -%}
{%- endmacro %}

{% macro months_until_next_stage() -%}
    {#- SQL: the months until a child leaves the most probable stage, expected under the belief that it is in it. -#}
    case
        {{ first_greatest("s_", stage_names()) }}
        {%- for stage in stages() %}
            when '{{ stage.name }}'
            then
                (
                    {%- for age in cell_ages() if stage.from_month <= age < stage.to_month -%}
                        {{ stage.to_month - age }} * w_{{ age_name(age) }} {%- if not loop.last %} + {% endif -%}
                    {%- endfor -%}
                )
                / nullif({{ sum_of("w_", cells_within(stage.from_month, stage.to_month)) }}, 0)
        {%- endfor %}
    end
{%- endmacro %}
