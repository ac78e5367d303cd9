-- Valid consents to the purpose of var consents_purpose, one row per user. Without the source table consents it is
-- empty and no user is excluded.
select user_id, granted_at from {{ ref("stg_consents_by_purpose") }} where purpose = '{{ setting("consents_purpose") }}'
