-- The stage of every child as of the newest closed month. Left out are children who have outgrown every stage, and
-- those whose birth was expected and is not confirmed.
select history.*
from {{ ref("user_stage_months") }} as history
inner join (select max(month) as month from {{ ref("user_stage_months") }}) as newest on history.month = newest.month
where
    history.graduated_probability <= 0.5
    and (history.birth_confirmed or history.stage in ({{ quoted(prenatal_stages()) }}))
