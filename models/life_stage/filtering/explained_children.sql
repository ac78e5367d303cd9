-- Input of stage_attributions, one row per child of user_stages: its stage, the weights of the birth months, and the
-- strongest features of all months as a list.
{{ config(materialized="view") }}
{% set names = cells_within(stages()[0].from_month, stages()[-1].to_month) %}
with
    observed as (
        select user_id, {{ collected(["month", "model_version", "feature", "n_days", "value"]) }} as features
        from {{ ref("strongest_features") }}
        where user_id in (select user_id from {{ ref("user_stages") }})
        group by user_id
    )
select
    children.user_id,
    children.child_no,
    children.month,
    children.stage_no,
    children.is_primary,
    weights.tau,
    {% for name in names %} weights.w_{{ name }}, weights.l_{{ name }}, {% endfor %}
    observed.features
from {{ ref("user_stages") }} as children
inner join {{ ref("birth_month_weights") }} as weights on children.user_id = weights.user_id
left join observed on children.user_id = observed.user_id
