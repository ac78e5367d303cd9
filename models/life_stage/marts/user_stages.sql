-- The stage of every child as of the newest closed month. Left out are children who are in no stage: outgrown or not
-- expected yet, expected and never confirmed, or known from too little.
select history.*
from {{ ref("user_stage_months") }} as history
inner join (select max(month) as month from {{ ref("user_stage_months") }}) as newest on history.month = newest.month
where history.is_in_stage
