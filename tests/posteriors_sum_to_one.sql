-- Normalisation of posteriors: the stage probabilities of a child sum to one in every month; each is rounded.
{% set total = sum_of("p_", stage_names()) %}
select method, user_id, child_no, month, {{ total }} as total
from {{ ref("stage_posteriors") }}
where not coalesce(abs({{ total }} - 1) < 1e-5, false)
