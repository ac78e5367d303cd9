{# Arithmetic of the birth-month filter: the carried state and its columns. #}
{% macro birth_month_state() %}
    {# The columns of the carried state, one row per user. Sums over the months at every grid point: c_ of the
       log-likelihoods, a_ of the activity model in 1/1000 nat. For an expected birth: its prior log-odds by next month
       (null: not expected yet), the log-likelihood ratio since then, and whether it is still unconfirmed. For the terms
       of the readout: sums of each month's largest log-likelihood and of days in leaf categories, and the activity of
       the last six months as bits. #}
    {% set columns = {
        "user_id": "string",
        "month": "date",
        "first_month": "date",
        "last_active_month": "date",
        "months_of_evidence": "integer",
        "c_birth_log_odds": "double",
        "c_birth_log_ratio": "double",
        "c_birth_is_open": "boolean",
        "c_peaks": "double",
        "c_days": "double",
        "c_unspecific_days": "double",
        "c_purchase_days": "double",
        "c_recent_months": "integer",
    } %}
    {% for cell in cells() %} {% do columns.update({"c_" ~ cell: "double"}) %} {% endfor %}
    {% for cell in cells() %} {% do columns.update({"a_" ~ cell: "integer"}) %} {% endfor %}
    {% do return(columns) %}
{% endmacro %}

{% macro presence_state() %}
    {# The columns of the carried state, one row per user: sums of the log-likelihoods at every grid point, in 1/1000
       nat. #}
    {% set columns = {"user_id": "string", "month": "date"} %}
    {% for cell in cells() %} {% do columns.update({"c_" ~ cell: "integer"}) %} {% endfor %}
    {% do return(columns) %}
{% endmacro %}

{% macro registration_state() %}
    {# The columns of the carried state, one row per registered child: sums over the months, as in birth_month_state. #}
    {% do return(
        {
            "user_id": "string",
            "month": "date",
            "child_no": "integer",
            "birth_date": "date",
            "c_log_likelihoods": "double",
            "c_activity": "bigint",
            "c_log_likelihood_of_birth": "double",
        }
    ) %}
{% endmacro %}

{% macro stage_run_state() %}
    {# The columns of the carried state, one row per child in user_stage_months: its stage, null if improbable, and the
       month since which it is probable. #}
    {% do return(
        {
            "user_id": "string",
            "month": "date",
            "child_no": "integer",
            "c_stage": "string",
            "c_since_month": "date",
        }
    ) %}
{% endmacro %}

{% macro household_state() %}
    {# The columns of the carried state, one row per user and child. #}
    {% do return(
        {
            "user_id": "string",
            "month": "date",
            "child_no": "integer",
            "is_primary": "boolean",
            "is_published": "boolean",
            "birth_month": "date",
        }
    ) %}
{% endmacro %}

{% macro exact(expression) -%}
    {#- SQL: the expression rounded to a multiple of 2^-36. Sums of such doubles are exact, so the same in any order.
        -#}
    (round(({{ expression }}) * 68719476736.0) / 68719476736.0)
{%- endmacro %}

{% macro log_odds_of_birth(born) -%}
    {#- SQL: the log-odds of a birth against a family that expects no child, as after a loss. -#}
    (ln(greatest({{ born }}, 1e-300)) + peak - l_not_yet)
{%- endmacro %}

{% macro log_odds_to_confirm() -%}
    {#- SQL: the log-likelihood ratio from which an expected birth is confirmed: odds of 20 to 1 against a loss, of which
        the prior probability is 15.3 % (miscarriages of recognised pregnancies, Quenby et al., The Lancet 2021). -#}
    ln({{ 20 * 0.153 / (1 - 0.153) }})
{%- endmacro %}

{% macro age_blocks() %}
    {# The grid points in blocks of 12 ages, so that sums up to an age stay short. #}
    {% set blocks = [] %}
    {% for block in cells()[1:-1] | batch(12) %} {% do blocks.append(block) %} {% endfor %}
    {% do return(blocks) %}
{% endmacro %}

{% macro weights_up_to() %}
    {# SQL for each of cell_ages(): the weight of this age and all younger ones; b_<n> is the weight of a whole block.
       #}
    {% set found, younger = [], [] %}
    {% for block in age_blocks() %}
        {% for n in range(1, block | length + 1) %}
            {% do found.append((younger + ["(w_" ~ block[:n] | join(" + w_") ~ ")"]) | join(" + ")) %}
        {% endfor %}
        {% do younger.append("b_" ~ loop.index) %}
    {% endfor %}
    {% do return(found) %}
{% endmacro %}

{% macro birth_month_at(share) -%}
    {#- SQL: the birth month with this share of the weight on younger children; null: no child, or aged out. -#}
    {%- set columns = [] -%}
    {%- for name in cells()[1:-1] -%} {%- do columns.append("y_" ~ name) -%} {%- endfor -%}
    case
        when {{ columns[-1] }} > 0 and not_yet_expecting_probability <= 0.5 and graduated_probability <= 0.5
        then
            {{
                months_after(
                    "month",
                    "-(" ~ cell_ages()[0] ~ " + " ~ count_below(share ~ " * " ~ columns[-1], columns) ~ ")",
                )
            }}
    end
{%- endmacro %}

{% macro count_below(bound, columns, before=0) -%}
    {#- SQL: the number of ascending columns below the bound, by binary search. -#}
    {%- if not columns -%} {{ before }}
    {%- elif columns | length == 1 -%}
        case when {{ columns[0] }} < {{ bound }} then {{ before + 1 }} else {{ before }} end
    {%- else -%}
        {%- set n = columns | length // 2 -%}
        case
            when {{ columns[n] }} < {{ bound }}
            then {{ count_below(bound, columns[n + 1 :], before + n + 1) }}
            else {{ count_below(bound, columns[:n], before) }}
        end
    {%- endif -%}
{%- endmacro %}

{% macro months_until_next_stage() -%}
    {#- SQL: the expected months until the child leaves its most probable stage, given that it is in it. -#}
    case
        {{ first_greatest("s_", stage_names()) }}
        {%- for stage in stages() %}
            {%- set names = cells_within(stage.from_month, stage.to_month) %}
            when '{{ stage.name }}'
            then
                (
                    {%- for name in names -%}
                        {{ names | length - loop.index0 }} * w_{{ name }} {%- if not loop.last %} + {% endif -%}
                    {%- endfor -%}
                )
                / nullif({{ sum_of("w_", names) }}, 0)
        {%- endfor %}
    end
{%- endmacro %}
