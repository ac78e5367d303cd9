-- Predicted stage: the one with the highest probability, the younger of equal ones.
select user_id, child_no, month, stage, probability
from {{ ref("user_stages") }}
where
    not coalesce(
        case
            stage
            {% for named in stages() %}
                when '{{ named.name }}'
                then
                    probability = p_{{ named.name }}
                    {% for other in stages() if other != named %}
                        and p_{{ other.name }} {{ "<" if other.from_month < named.from_month else "<=" }} probability
                    {% endfor %}
            {% endfor %}
        end,
        false
    )
