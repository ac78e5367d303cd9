-- Training, validation and test set, one row per user and month with actions in it or a year before. Only users with
-- exactly one registered child: rows of several children contradict each other. With var training_labels also users
-- whose age words agree.
{{ config(materialized="view") }}
-- depends_on: {{ ref("source_fit") }}
{% set most_users = 40000 %}  {# half as many: .2 points less accurate; more would cost memory and time (decision 0007) #}
with
    labels as (
        select user_id, month, age_months, split, registered_at, 'registration' as label
        from {{ ref("stage_labels") }}
        where n_children = 1
        union all
        select user_id, month, age_months, split, registered_at, 'age_words' as label
        from {{ ref("age_word_labels") }}
    ),
    -- This hash is independent of the hash that splits users into training and test.
    users as (
        select
            user_id,
            min(month) as first_month,
            row_number() over (order by md5(concat('training ', user_id)), user_id) as rank
        from {{ ref("user_months") }}
        where
            user_id in (select user_id from labels)
            and user_id not in (select user_id from {{ ref("implausible_users") }})
        group by user_id
    ),
    first_months as (select user_id, first_month from users where rank <= {{ most_users }}),
    months_of_users as (
        select labels.*, first_months.first_month
        from labels
        inner join first_months on labels.user_id = first_months.user_id and labels.month >= first_months.first_month
    ),
    eligible_months as (
        select months_of_users.*, this_year.month is not null as is_active
        from months_of_users
        left join
            {{ ref("user_months") }} as this_year
            on months_of_users.user_id = this_year.user_id
            and months_of_users.month = this_year.month
        left join
            {{ ref("user_months") }} as last_year
            on months_of_users.user_id = last_year.user_id
            and months_of_users.month = {{ months_after("last_year.month", 12) }}
        where
            (this_year.month is not null or last_year.month is not null)
            and months_of_users.month >= date '{{ retained_from("features") }}'
    )
select
    cast(row_number() over (order by user_id, month) as integer) as row_no,
    cast(dense_rank() over (order by user_id) as integer) as user_no,
    user_id,
    month,
    split,
    age_months,
    registered_at,
    label,
    is_active,
    {{ months_between("month", "first_month") }} as tenure_months
from eligible_months
