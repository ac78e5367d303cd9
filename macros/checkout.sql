{# Macros of the checkout: candidate generators, ranker columns, and an item's share among similar users. #}
{% macro candidate_generators() %}
    {# Where candidates come from. #}
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
    ] %}
    {% do return(generators + ["deep"] if var("checkout_deep") else generators) %}
{% endmacro %}

{% macro checkout_measures() %}
    {# How items belong together, as far as a ranker reads their mean over the cart. #}
    {% do return(["together", "linear", "alike"]) %}
{% endmacro %}

{% macro mixed_share(items, users, months_on=0) -%}
    {#- SQL: the item's share in each stage, weighted by how probable the shopper's stages are; what is left counts as all. -#}
    (
        {%- for name in stage_names() -%}
            {{ users }}.p_{{ name }}
            * {{ items }}.share_{{ stage_names()[[loop.index0 + months_on, stage_names() | length - 1] | min] }}
            +
        {%- endfor -%}
        (1 - {{ sum_of(users ~ ".p_", stage_names()) }}) * {{ items }}.share
    )
{%- endmacro %}

{% macro sample_uniform(text) -%}
    {#- SQL: a number in [0, 1) by which halves of baskets and cases are drawn; another var checkout_seed, another draw. -#}
    {{ hash_share(text if var("checkout_seed") == 0 else "concat(" ~ text ~ ", ' " ~ var("checkout_seed") ~ "')") }}
{%- endmacro %}

{% macro decayed(days, faster=1) -%}
    {#- SQL: what is left of 1 after so many days, by var checkout_half_life_days or a fraction of it. -#}
    power(0.5, {{ days }} * {{ faster }} / cast({{ var("checkout_half_life_days") }} as double))
{%- endmacro %}

{% macro pairs_in_baskets(lines) -%}
    {#- SQL: a row for every two items of a basket: month, user_id, item_no and the larger other_item_no. A wholesaler's basket
        says little and costs the square of its length: it is left out. -#}
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
    {# What the rankers read of a candidate, as checkout_examples has it. #}
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
    {% do return(columns + ["popularity", "stage_lift", "next_stage_lift", "frequency", "recency"]) %}
{% endmacro %}

{% macro log_odds(coefficients, examples) -%}
    {#- SQL: of the candidate being right. -#}
    {{ coefficients }}.intercept
    {%- for column in checkout_columns() %}
        + {{ coefficients }}.w_{{ column }} * {{ examples }}.{{ column }}
    {%- endfor %}
{%- endmacro %}

{% macro is_candidate(coefficients, examples) -%}
    {#- SQL: whether a source that the model reads names the item. -#}
    (
        {%- for generator in candidate_generators() %}
            {{ coefficients }}.w_{{ generator }} <> 0 and {{ examples }}.{{ generator }} > 0
            {%- if not loop.last %} or {% endif -%}
        {%- endfor %}
    )
{%- endmacro %}
