-- Hand-written SQL of bench/peers.py, for DuckDB and Spark.
-- name: by hand
with
    observed as (
        select user_id, acted_on, feature
        from stg_actions
        join item_features using (item_id)
        union all
        select user_id, acted_on, concat(feature, ':', action)
        from stg_actions
        join item_features using (item_id)
        where action <> 'click'
        union all
        select user_id, acted_on, feature
        from stg_actions
        join search_term_features using (search_term)
    ),
    days as (
        select user_id, feature, count(distinct acted_on) as n_days
        from observed
        group by user_id, feature
        union all
        select user_id, concat('n_actions=', action), count(*)
        from stg_actions
        group by user_id, action
    ),
    summed as (
        select user_id {% for bin in bins %}, sum(ln(1 + n_days) * w_{{ bin }}) as ll_{{ bin }} {% endfor %}
        from days
        join model_weights using (feature)
        group by user_id
    )
select
    users.user_id {% for bin in bins %}, coalesce(ll_{{ bin }}, 0) + intercepts.w_{{ bin }} as ll_{{ bin }} {% endfor %}
from (select distinct user_id from stg_actions) as users
left join summed on users.user_id = summed.user_id
cross join (select * from model_weights where feature = '') as intercepts
;
