-- Stages of the next six months, one row per child of user_stages, horizon and probable stage: the birth months move on
-- by one month each month, so that every probability is a sum over birth months.
{% set horizons, moves, columns = range(7), [], [] %}
{% for horizon in horizons %}
    {% for stage in stages() %}
        {% do columns.append({"horizon": horizon, "stage": stage, "stage_no": loop.index}) %}
    {% endfor %}
{% endfor %}
{% for horizon in horizons %}
    {% for before in stages() %}
        {% for after in stages() %}
            {% set from_month = [before.from_month, after.from_month - horizon] | max %}
            {% set to_month = [before.to_month, after.to_month - horizon] | min %}
            {# Pregnancies can be lost: a birth is published once it is confirmed. #}
            {% if from_month < to_month and (before.from_month >= 0 or after.from_month < 0) %}
                {% do moves.append(
                    {
                        "horizon": horizon,
                        "before": before,
                        "after": after,
                        "column": "t_" ~ horizon ~ "_" ~ before.name ~ "_" ~ after.name,
                        "cells": cells_within(from_month, to_month),
                        "share": (to_month - from_month) / (before.to_month - before.from_month),
                    }
                ) %}
            {% endif %}
        {% endfor %}
    {% endfor %}
{% endfor %}
with
    children as (
        select history.*, coalesce(registered.registration_probability, 0) as registration_weight, registered.age_months
        from {{ ref("user_stages") }} as history
        left join
            {{ ref("registered_births") }} as registered
            on history.user_id = registered.user_id
            and history.month = registered.month
            and history.child_no = registered.child_no
    ),
    masses as (
        select
            weights.*,
            {% for stage in stages() %}
                greatest(
                    {{ sum_of("weights.w_", cells_within(stage.from_month, stage.to_month)) }}, 1e-300
                ) as m_{{ stage.name }}
                {%- if not loop.last %},{% endif %}
            {% endfor %}
        from {{ ref("birth_month_weights") }} as weights
    ),
    -- Probability of each stage later, given the stage now. Of a further child all ages of its stage count alike. It
    -- is rounded, because a half of a published probability would be rounded either way.
    transitions as (
        select
            children.user_id,
            children.child_no,
            children.month,
            {% for stage in stages() %}
                {% set is_registered = (
                    "case when children.age_months >= "
                    ~ stage.from_month
                    ~ " and children.age_months < "
                    ~ stage.to_month
                    ~ " then children.registration_weight else cast(0 as double) end"
                ) %}
                greatest(children.p_{{ stage.name }} - {{ is_registered }}, 0.0) as b_{{ stage.name }},
            {% endfor %}
            children.registration_weight,
            children.age_months,
            {% for move in moves %}
                case
                    when children.is_primary
                    then round(({{ sum_of("masses.w_", move.cells) }}) / masses.m_{{ move.before.name }}, 9)
                    else {{ move.share }}
                end as {{ move.column }}
                {%- if not loop.last %},{% endif %}
            {% endfor %}
        from children
        inner join masses on children.user_id = masses.user_id
    ),
    -- One column per horizon and stage: s_ of the children that stay in the stage, e_ of those that enter it.
    shares as (
        select
            user_id,
            child_no,
            month,
            {% for column in columns %}
                {% set stage, horizon = column.stage, column.horizon %}
                case
                    when age_months >= {{ stage.from_month }} and age_months + {{ horizon }} < {{ stage.to_month }}
                    then registration_weight
                    else cast(0 as double)
                end
                {%- for move in moves
                    if move.horizon == horizon and move.after.name == stage.name == move.before.name %}
                    + b_{{ stage.name }} * {{ move.column }}
                {%- endfor %} as s_{{ loop.index }},
                case
                    when
                        age_months >= {{ 0 if stage.from_month >= 0 else -1000 }}
                        and age_months < {{ stage.from_month }}
                        and age_months + {{ horizon }} >= {{ stage.from_month }}
                        and age_months + {{ horizon }} < {{ stage.to_month }}
                    then registration_weight
                    else cast(0 as double)
                end
                {%- for move in moves
                    if move.horizon == horizon
                    and move.after.name == stage.name
                    and move.before.name != stage.name %}
                    + b_{{ move.before.name }} * {{ move.column }}
                {%- endfor %} as e_{{ loop.index }}
                {%- if not loop.last %},{% endif %}
            {% endfor %}
        from transitions
    ),
    keys as (
        select *
        from
            (
                values
                    {% for column in columns %}
                        ({{ loop.index }}, {{ column.horizon }}, {{ column.stage_no }}, '{{ column.stage.name }}')
                        {%- if not loop.last %},{% endif %}
                    {% endfor %}
            ) as v(n, horizon, stage_no, stage)
    ),
    outlook as (
        select
            shares.user_id,
            shares.child_no,
            shares.month,
            keys.horizon,
            keys.stage_no,
            keys.stage,
            case
                keys.n
                {% for _ in columns %} when {{ loop.index }} then s_{{ loop.index }} + e_{{ loop.index }} {% endfor %}
            end as probability,
            case
                keys.n {% for _ in columns %} when {{ loop.index }} then e_{{ loop.index }} {% endfor %}
            end as p_entering
        from shares
        cross join keys
    )
select
    user_id,
    child_no,
    month,
    cast(horizon as integer) as horizon,
    {{ months_after("month", "horizon") }} as stage_month,
    cast(stage_no as integer) as stage_no,
    stage,
    cast(round(probability, 6) as double) as probability,
    cast(round(p_entering, 6) as double) as p_entering
from outlook
where probability >= 0.01
