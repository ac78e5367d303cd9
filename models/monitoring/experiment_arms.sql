-- Treatment assignment, one row per experiment and user, by a hash of the user and the experiment's name alone. Arms
-- are constant, and experiments are independent.
{{ config(materialized="view") }}
with users as (select distinct user_id from {{ ref("user_months") }})
{% for experiment in var("experiments") %}
        {{ "" if loop.first else "union all" }}
    select
        '{{ experiment.name }}' as experiment,
        user_id,
        case
            when {{ hash_share("concat('" ~ experiment.name ~ " ', user_id)") }} < {{ experiment.treated_share }}
            then 'treatment'
            else 'control'
        end as arm
    from users
{% else %} select '' as experiment, user_id, '' as arm from users where false
{% endfor %}
