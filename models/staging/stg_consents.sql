-- Who consents, at the run's clock, to what var consent_purpose names. Where the source has no consents it is empty,
-- and everybody counts.
-- depends_on: {{ source("shop", "consents") }}
{{ consenting_users() }}
