-- Table snowplow_ecommerce_product_interactions of Snowplow's dbt package.
select
    event_id as action_id,
    coalesce(nullif(user_id, ''), domain_userid) as user_id,
    derived_tstamp as occurred_at,
    ecommerce_action_type as action,
    product_id as item_id,
    product_quantity as quantity,
    product_price as price,
    source_file
from '{interactions}'
