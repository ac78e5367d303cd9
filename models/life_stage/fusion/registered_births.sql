-- How far each registered birthday can be trusted in every month since it was registered: it is strong evidence, but
-- 5 % of registrations are wrong, and behaviour may speak against one.
{{ config(materialized="table") }}
with
    families as (select user_id, count(*) as n_children from {{ ref("stg_children") }} group by user_id),
    months_of_children as (
        select
            children.user_id,
            children.child_no,
            children.birth_date,
            children.registered_at,
            families.n_children,
            beliefs.month,
            beliefs.months_of_evidence,
            beliefs.log_evidence,
            beliefs.model_version,
            {{ months_between("beliefs.month", "children.birth_date") }} as age_months
        from {{ ref("stg_children") }} as children
        inner join families on children.user_id = families.user_id
        inner join {{ ref("birth_month_filter") }} as beliefs on children.user_id = beliefs.user_id
    ),
    -- What behaviour up to the month says about that birth month: the carried sum of the filter, for one cell.
    evidence_so_far as (
        select
            children.*,
            sum(coalesce({{ evidence_at_any_age("children.age_months") }}, 0)) over (
                partition by children.user_id, children.child_no order by children.month
            ) as evidence
        from months_of_children as children
        left join
            {{ ref("stage_evidence") }} as evidence
            on children.user_id = evidence.user_id
            and children.month = evidence.month
    ),
    -- How many times more probable the behaviour is with this birthday than on average. Of a family with several
    -- registered children the sum of the behaviour says nothing about each.
    compared as (
        select
            so_far.*,
            case
                when so_far.n_children > 1
                then 1.0
                else
                    (1 - models.delta) * exp(
                        least(
                            models.tau * power(greatest(so_far.months_of_evidence, 1), - models.gamma) * so_far.evidence
                            - so_far.log_evidence,
                            50
                        )
                    )
                    + models.delta
            end as times_as_probable
        from evidence_so_far as so_far
        inner join {{ ref("stage_models") }} as models on so_far.model_version = models.model_version
    )
select
    user_id,
    child_no,
    month,
    birth_date,
    age_months,
    registered_at >= birth_date as was_born,
    0.95 * times_as_probable / (0.95 * times_as_probable + 0.05) as registration_probability
from compared
where {{ month_of(business_time("registered_at")) }} <= month
