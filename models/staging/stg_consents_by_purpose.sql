-- Valid consents at the run's clock, one row per user and purpose, of the users who consent to the purpose of var
-- consents_purpose: of others nothing is kept. Without the source table consents it is empty.
-- depends_on: {{ source_table("consents") }}
with valid as ({{ valid_consents() }})
select user_id, purpose, granted_at
from valid
where user_id in (select user_id from valid where purpose = '{{ setting("consents_purpose") }}')
