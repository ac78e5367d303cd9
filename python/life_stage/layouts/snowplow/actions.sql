-- Table snowplow_ecommerce_product_interactions of Snowplow's dbt package.
select
    event_id as action_id,
    coalesce(nullif(cast(user_id as varchar), ''), cast(domain_userid as varchar)) as user_id,
    derived_tstamp as occurred_at,
    ecommerce_action_type as action,
    product_id as item_id,
    product_quantity as quantity,
    product_price as price,
    source_file
from '{interactions}'
