-- Range of published probabilities: between 0 and 1, never null.
select user_id, child_no, month
from {{ ref("user_stage_months") }}
where
    {% for stage in stages() %} not coalesce(p_{{ stage.name }} between 0 and 1, false) or {% endfor %}
    not coalesce(probability between 0 and 1, false)
    or not coalesce(not_yet_expecting_probability between 0 and 1, false)
    or not coalesce(graduated_probability between 0 and 1, false)
    or not_yet_expecting_probability + graduated_probability > 1 + 1e-9
