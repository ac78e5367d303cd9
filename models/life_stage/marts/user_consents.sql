-- Valid consents of the users in the marts, one row per user and purpose. A campaign cuts its list by its purpose.
select consents.user_id, consents.purpose, consents.granted_at
from {{ ref("stg_consents_by_purpose") }} as consents
inner join {{ ref("users") }} as users on consents.user_id = users.user_id
