{# Macros of the checkout: candidate generators, ranker columns, and an item's share among similar users. #}
{% macro candidate_generators() %}
    {# The names of the candidate generators. #}
    {% set generators = [
        "popular",
        "popular_in_stage",
        "habit",
        "together_cart",
        "together_history",
        "linear_cart",
        "linear_history",
        "alike_cart",
        "alike_history",
        "novel_cart",
        "novel_history",
        "type_cart",
        "type_history",
        "type_need",
    ] %}
    {% do return(generators + ["deep"] if setting("checkout_deep") else generators) %}
{% endmacro %}

{% macro checkout_history() %}
    {# The closed months before the target month: [{month, input_hash}]. #}
    {% do return(closed_months() if checkout_months_all() else []) %}
{% endmacro %}

{% macro checkout_months_where(condition) %}
    {# Months of checkout_months that meet a condition: [{month, input_hash}]. #}
    {% set sql = "select month, '' as input_hash from " ~ ref("checkout_months") ~ " where " ~ condition %}
    {% do return(rows_as_dicts(sql ~ " order by month")) %}
{% endmacro %}

{% macro checkout_months_all() %}
    {# All months, the target month included. #}
    {% do return(checkout_months_where("true")) %}
{% endmacro %}

{% macro checkout_months_closed() %}
    {# Months with evaluation queries. #}
    {% do return(checkout_months_where("is_closed")) %}
{% endmacro %}

{% macro checkout_months_evaluated() %}
    {# Months on which models are evaluated. #}
    {% do return(checkout_months_where("is_evaluated")) %}
{% endmacro %}

{% macro checkout_months_predicted() %}
    {# Months with models: the evaluated months and the target month. #}
    {% do return(checkout_months_where("is_evaluated or not is_closed")) %}
{% endmacro %}

{% macro first_query_id() -%}
    {#- SQL: the query ids of a month follow this number, so that other months leave them as they are. -#}
    cast(1000000 * (100 * year({{ this_month() }}) + month({{ this_month() }})) as bigint)
{%- endmacro %}

{% macro checkout_measures() %}
    {# The item-item measures whose mean over the cart is a column of the ranker. #}
    {% do return(["together", "linear", "alike"]) %}
{% endmacro %}

{% macro mixed_share(items, users, months_on=0) -%}
    {#- SQL: the item's share by stage, weighted by the user's stage probabilities; the remainder weighs the overall
        share. -#}
    (
        {%- for name in stage_names() -%}
            {{ users }}.p_{{ name }}
            * {{ items }}.share_{{ stage_names()[[loop.index0 + months_on, stage_names() | length - 1] | min] }}
            +
        {%- endfor -%}
        (1 - {{ sum_of(users ~ ".p_", stage_names()) }}) * {{ items }}.share
    )
{%- endmacro %}

{% macro label_days() %}
    {# First days of a month in which a purchased item is relevant: four whole weeks, so that no weekday counts more. #}
    {% do return(28) %}
{% endmacro %}

{% macro items_of_a_type() %}
    {# Items of a size below which they belong to the type of their leaf category. #}
    {% do return(5) %}
{% endmacro %}

{% macro min_support() %}
    {# Baskets that a pair of items must share: a pair of one basket is no pattern, and half of all pairs. #}
    {% do return(2) %}
{% endmacro %}

{% macro sample_uniform(text) -%}
    {#- SQL: a number in [0, 1) that samples queries and splits their baskets; var checkout_seed is the random seed. -#}
    {{
        hash_share(
            text if setting("checkout_seed") == 0 else "concat(" ~ text ~ ", ' " ~ setting("checkout_seed") ~ "')"
        )
    }}
{%- endmacro %}

{% macro decayed(days, faster=1) -%}
    {#- SQL: the time decay of 1 after so many days, by var checkout_half_life_days or a fraction of it. -#}
    power(0.5, {{ days }} * {{ faster }} / cast({{ setting("checkout_half_life_days") }} as double))
{%- endmacro %}

{% macro pairs_in_baskets(lines) -%}
    {#- SQL: one row per pair of items in a basket: month, user_id, item_no and the larger other_item_no. Baskets of
        over 100 items are excluded: they are uninformative, and their cost is quadratic. -#}
    select one.month, one.user_id, one.item_no, another.item_no as other_item_no
    from (select *, count(*) over (partition by month, basket_id) as n_lines from {{ lines }}) as one
    inner join
        {{ lines }} as another
        on one.month = another.month
        and one.basket_id = another.basket_id
        and one.item_no < another.item_no
    where one.n_lines <= 100
{%- endmacro %}

{% macro checkout_columns() %}
    {# The ranker's features of a candidate: columns of checkout_examples. #}
    {% set columns = [] %}
    {% for generator in candidate_generators() %}
        {% do columns.extend([generator, generator ~ "_rank_score"]) %}
    {% endfor %}
    {% for measure in checkout_measures() %} {% do columns.append(measure ~ "_each") %} {% endfor %}
    {% do columns.extend(
        [
            "recent_propensity",
            "repeat_share",
            "log_days_since_last",
            "replenishment_ratio",
            "replenishment_deviation",
        ]
    ) %}
    {% do columns.extend(["type_of_cart", "type_of_history", "type_browsed", "share_of_type", "is_type_of_cart"]) %}
    {% do columns.extend(["type_stage_lift", "next_type_stage_lift"]) %}
    {% do return(columns + ["popularity", "stage_lift", "next_stage_lift", "frequency", "recency"]) %}
{% endmacro %}

{% macro log_odds(coefficients, examples) -%}
    {#- SQL: the log-odds that the candidate is relevant. -#}
    {{ coefficients }}.intercept
    {%- for column in checkout_columns() %}
        + {{ coefficients }}.w_{{ column }} * {{ examples }}.{{ column }}
    {%- endfor %}
{%- endmacro %}

{% macro is_candidate(coefficients, examples) -%}
    {#- SQL: true if a candidate generator with a non-zero weight returned the item. -#}
    (
        {%- for generator in candidate_generators() %}
            {{ coefficients }}.w_{{ generator }} <> 0 and {{ examples }}.{{ generator }} > 0
            {%- if not loop.last %} or {% endif -%}
        {%- endfor %}
    )
{%- endmacro %}
