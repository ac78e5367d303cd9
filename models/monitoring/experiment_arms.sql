-- Treatment assignment, one row per experiment and user, by a hash of the user and the experiment's name alone. Arms
-- are constant, and experiments are independent.
{{ config(materialized="view") }}
select
    experiments.experiment,
    users.user_id,
    case
        when {{ hash_share("concat(experiments.experiment, ' ', users.user_id)") }} < experiments.treated_share
        then 'treatment'
        else 'control'
    end as arm
from {{ ref("experiments") }} as experiments
cross join (select distinct user_id from {{ ref("user_months") }}) as users
