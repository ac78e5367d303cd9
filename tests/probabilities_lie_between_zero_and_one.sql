-- Range of published probabilities: between 0 and 1, never null.
select user_id, child_no, month
from {{ ref("user_stage_months") }}
where
    {% for state in states_outside() + stage_names() %}
        not coalesce(p_{{ state }} between 0 and 1, false) or
    {% endfor %}
    not coalesce(probability between 0 and 1, false)
    or not coalesce(no_child_probability between 0 and 1, false)
