-- Labels: child's age in months at each month end, one row per registered child and closed month, with
-- train/validation/test split.
with families as (select user_id, count(*) as n_children from {{ ref("stg_children") }} group by user_id)
select
    children.user_id,
    children.child_no,
    calendar.month,
    {{ months_between("calendar.month", "children.birth_date") }} as age_months,
    families.n_children,
    -- A registration without a time counts from the beginning.
    children.registered_at,
    case
        when {{ hash_share("children.user_id") }} < {{ setting("training_share") }}
        then 'train'
        when
            {{ hash_share("children.user_id") }}
            < {{ setting("training_share") + setting("training_validation_share") }}
        then 'validation'
        else 'test'
    end as split
from {{ ref("stg_children") }} as children
inner join families on children.user_id = families.user_id
cross join {{ ref("month_calendar") }} as calendar
where calendar.is_closed
