-- Predicted stage: the one with the highest probability for this child; shares are rounded to six decimals.
select user_id, child_no, month, stage, probability
from {{ ref("user_stages") }}
where
    not coalesce(
        case
            stage
            {% for named in stage_names() %}
                when '{{ named }}'
                then true {% for other in stage_names() %} and p_{{ other }} <= p_{{ named }} + 0.00001 {% endfor %}
            {% endfor %}
        end,
        false
    )
