-- Valid consents of the users in the marts at the run's clock, one row per user and purpose, so that a list can be
-- cut by
-- the purpose of a campaign. Without the source table consents it is empty.
select consents.user_id, consents.purpose, consents.granted_at
from {{ ref("stg_consents_by_purpose") }} as consents
inner join {{ ref("users") }} as users on consents.user_id = users.user_id
