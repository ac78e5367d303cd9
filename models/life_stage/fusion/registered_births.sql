-- How far each registered birthday can be trusted in every month since it was registered: it is strong evidence, but
-- 5 % of registrations are wrong, and behaviour may speak against one.
{{ config(materialized="table") }}
with
    months_of_children as (
        select
            children.user_id,
            children.child_no,
            children.birth_date,
            children.registered_at,
            -- A registration without a time is known now, so it counts in the newest month.
            {{ month_of(business_time("children.registered_at")) }} <= beliefs.month
            or (children.time_is_unknown and beliefs.month = newest.month) as is_known,
            beliefs.month,
            beliefs.first_month,
            beliefs.birth_confirmed,
            beliefs.months_of_evidence,
            beliefs.log_evidence,
            beliefs.model_version,
            {{ months_between("beliefs.month", "children.birth_date") }} as age_months
        from {{ ref("stg_children") }} as children
        inner join {{ ref("birth_month_filter") }} as beliefs on children.user_id = beliefs.user_id
        cross join (select max(month) as month from {{ ref("birth_month_filter") }}) as newest
    ),
    said_by_month as (
        select
            children.*,
            count(case when children.is_known then 1 end) over (
                partition by children.user_id, children.month
            ) as n_known_children,
            coalesce({{ evidence_at_any_age("children.age_months") }}, 0) as of_child,
            coalesce(evidence.e_not_yet, 0) as of_no_child
        from months_of_children as children
        left join
            {{ ref("stage_evidence") }} as evidence
            on children.user_id = evidence.user_id
            and children.month = evidence.month
    ),
    -- What behaviour up to the month says about that birth month, and since the birth about a child or none, which
    -- are the carried sums of the filter for one cell.
    said_so_far as (
        select
            *,
            sum(of_child) over (partition by user_id, child_no order by month) as evidence,
            sum(case when age_months >= 0 then of_child - of_no_child else 0 end) over (
                partition by user_id, child_no order by month
            ) as evidence_of_birth
        from said_by_month
    ),
    scaled as (
        select said_so_far.*, models.tau * power(greatest(months_of_evidence, 1), - models.gamma) as scale
        from said_so_far
        inner join {{ ref("stage_models") }} as models on said_so_far.model_version = models.model_version
    ),
    -- How many times more probable the behaviour is with this birthday than on average. Of a family with several
    -- registered children the sum of the behaviour says nothing about each.
    compared as (
        select
            *,
            case
                when n_known_children > 1 then 1.0 else exp(least(scale * evidence - log_evidence, 50))
            end as times_as_probable
        from scaled
    )
select
    user_id,
    child_no,
    month,
    birth_date,
    age_months,
    n_known_children,
    -- An expected child is born when it is registered after its birth, or behaviour since favours a child 20 to 1.
    -- Of one due before the family was first seen no more is asked than of an unregistered child.
    age_months >= 0
    and (
        registered_at >= birth_date
        or (n_known_children = 1 and scale * evidence_of_birth >= ln(20))
        or (birth_date < first_month and birth_confirmed)
    ) as birth_confirmed,
    0.95 * times_as_probable / (0.95 * times_as_probable + 0.05) as registration_probability
from compared
where is_known
