-- Checks of the newest delivery of actions, one row per check: by month, file, action and column, and against the
-- months around it. source_row_counts fails if one of them does.
{{ config(meta={"always_built": true}) }} {{ checks_of_delivery(ref("source_row_counts")) }}
