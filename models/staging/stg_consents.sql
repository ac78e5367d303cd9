-- Valid consents to the purpose of var consents_purpose at the run's clock, one row per user. Without the source table
-- consents the view is empty and no user is excluded.
-- depends_on: {{ source("shop", "consents") }}
{{ consenting_users() }}
