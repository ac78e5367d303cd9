-- The history: the stage of every user's child in every closed month, from what was known up to that month.
{{ config(materialized="view") }}
with
    beliefs as (
        select
            *,
            greatest(
                {% for stage in stages() %}p_{{ stage.name }} {%- if not loop.last %},{% endif %} {% endfor %}
            ) as probability
        from {{ ref("stage_beliefs") }}
    )
select
    user_id,
    child_no,
    month,
    -- Ties break to the younger stage.
    case
        {% for stage in stages() %} when p_{{ stage.name }} = probability then '{{ stage.name }}' {% endfor %}
    end as stage,
    probability,
    {% for stage in stages() %} p_{{ stage.name }}, {% endfor %}
    not_yet_expecting_probability,
    graduated_probability,
    months_of_evidence,
    last_active_month,
    model_version,
    run_id
from beliefs
