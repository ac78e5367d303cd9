-- Users with valid consent to var consent_purpose at the run's clock, one row per user. Empty without a source table;
-- then every user counts.
-- depends_on: {{ source("shop", "consents") }}
{{ consenting_users() }}
