-- The stage of every user's child as of the newest closed month; children who have outgrown every stage are left out.
select history.*
from {{ ref("user_stage_months") }} as history
inner join (select max(month) as month from {{ ref("user_stage_months") }}) as newest on history.month = newest.month
where history.graduated_probability <= 0.5
