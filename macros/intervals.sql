{# Intervals of shares that hold for few cases, also under monthly reading, and the verdicts that they allow. #}
{% macro wilson_limit(share, n, side, z="cast(1.959964 as double)") -%}
    {#- SQL: the `lowest` or `highest` share of the score interval (Wilson 1927), by default of 95 %; null without cases.
        n: independent cases. -#}
    {%- set sign, clip, end = ("-", "greatest", 0) if side == "lowest" else ("+", "least", 1) -%}
    case
        when {{ n }} > 0
        then
            {{ clip }} (
                (
                    {{ share }}
                    + {{ z }}
                    * {{ z }}
                    / (2 * {{ n }}) {{ sign }} {{ z }}
                    * sqrt({{ share }} * (1 - {{ share }}) / {{ n }} + power({{ z }} / (2 * {{ n }}), 2))
                )
                / (1 + {{ z }} * {{ z }} / {{ n }}),
                {{ end }}
            )
    end
{%- endmacro %}

{% macro wilson_limits(share, n, name) -%}
    {#- SQL: columns lowest_<name> and highest_<name>, the 95 % interval of a share. n: independent cases. -#}
    {%- for side in ["lowest", "highest"] -%}
        {{ wilson_limit(share, n, side) }} as {{ side }}_{{ name }} {{- ", " if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{% macro newcombe_limit(share, n, other_share, other_n, side, z="cast(1.959964 as double)") -%}
    {#- SQL: the `lowest` or `highest` difference of two independent shares, from their score intervals (Newcombe 1998,
        method 10); null if one has no cases. -#}
    {%- set sign, opposite = ("-", "highest") if side == "lowest" else ("+", "lowest") -%}
    {{ share }} - {{ other_share }} {{ sign }} sqrt(
        power({{ share }} - {{ wilson_limit(share, n, side, z) }}, 2)
        + power({{ other_share }} - {{ wilson_limit(other_share, other_n, opposite, z) }}, 2)
    )
{%- endmacro %}

{% macro effective_sample_size(n) -%}
    {#- SQL, over one row per user with n cases: how many independent cases they are worth at least, if all cases of a
        user are alike (Kish 1965). -#}
    power(cast(sum({{ n }}) as double), 2) / nullif(sum(power({{ n }}, 2)), 0)
{%- endmacro %}

{% macro sequence_z(n_buyers, n_users) -%}
    {#- SQL: the number of standard errors of a 95 % confidence sequence of the difference between two arms that these
        buyers and users are in, in place of 1.96; null without users. Normal mixture (Robbins 1970; Waudby-Smith et al.
        2024), tightest at 500 buyers among many users. Its time is users times the odds of having bought: as users buy
        once, the difference is a Brownian bridge in the conversion. -#}
    {%- set information = (
        n_users ~ " * (" ~ n_buyers ~ " + 0.5) / (" ~ n_users ~ " - " ~ n_buyers ~ " + 0.5)"
    ) -%}
    {#- 5.991465 = -2 ln 0.05; 7.936155 = 5.991465 + ln(5.991465 + 1), the optimum at the tightest time. -#}
    {%- set relative = "(" ~ information ~ " * cast(7.936155 as double) / 500)" -%}
    case when {{ n_users }} > 0 then sqrt((1 + 1 / {{ relative }}) * (ln(1 + {{ relative }}) + 5.991465)) end
{%- endmacro %}

{% macro are_enough(n_cases, n_users) -%}
    {#- SQL: true if cases and users suffice for a verdict (vars verdicts_min_cases, verdicts_min_users). -#}
    coalesce(
        {{ n_cases }} >= {{ setting("verdicts_min_cases") }} and {{ n_users }} >= {{ setting("verdicts_min_users") }},
        false
    )
{%- endmacro %}

{% macro verdict(lowest, highest, reference, n_cases, n_users) -%}
    {#- SQL: what the interval of a difference to `reference`, of which more is better, allows to state. Differences of
        up to var verdicts_margin times the reference do not count. -#}
    {%- set margin = "cast(" ~ setting("verdicts_margin") ~ " as double) * " ~ reference -%}
    case
        when not {{ are_enough(n_cases, n_users) }}
        then 'too few'
        when {{ lowest }} > {{ margin }}
        then 'better'
        when {{ highest }} < - ({{ margin }})
        then 'worse'
        when {{ lowest }} > - ({{ margin }})
        then 'not worse'
        else 'undecided'
    end
{%- endmacro %}
