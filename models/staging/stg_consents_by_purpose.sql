-- Valid consents at the run's clock, one row per user and purpose. Without the source table consents it is empty.
-- depends_on: {{ source("shop", "consents") }}
{{ valid_consents() }}
