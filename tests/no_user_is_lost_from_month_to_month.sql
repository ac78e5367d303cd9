-- Completeness of posteriors: for each method and closed month, all users seen so far with one primary child each.
with
    first_months as (select user_id, min(month) as month from {{ ref("user_months") }} group by user_id),
    new_users as (select month, count(*) as n_users from first_months group by month),
    months_expected as (
        select models.month, sum(coalesce(new_users.n_users, 0)) over (order by models.month) as n_users
        from {{ ref("month_model_assignments") }} as models
        left join new_users on models.month = new_users.month
    ),
    methods as (select distinct method from {{ ref("stage_posteriors") }}),
    months_updated as (
        select
            method,
            month,
            count(distinct user_id) as n_users,
            count(case when is_primary then 1 end) as n_primary_children
        from {{ ref("stage_posteriors") }}
        group by method, month
    )
select methods.method, expected.month, expected.n_users, found.n_users as n_users_with_posterior
from months_expected as expected
cross join methods
left join months_updated as found on methods.method = found.method and expected.month = found.month
where coalesce(found.n_users, 0) <> expected.n_users or coalesce(found.n_primary_children, 0) <> expected.n_users
