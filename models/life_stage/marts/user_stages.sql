-- The stage of every child as of the newest closed month. Left out are children who have outgrown every stage, and
-- those whose birth was expected and is not confirmed.
select history.*
from {{ ref("user_stage_months") }} as history
inner join (select max(month) as month from {{ ref("user_stage_months") }}) as newest on history.month = newest.month
inner join {{ ref("stages") }} as stages on history.stage = stages.stage
where history.graduated_probability <= 0.5 and (history.birth_confirmed or stages.from_month < 0)
