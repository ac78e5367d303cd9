-- Rejection reasons: seeds/rejection_reasons.csv explains every reason in use.
with
    reasons_given as (
        select month, sum(length(reasons) - length(replace(reasons, ' ', '')) + 1) as n_reasons
        from {{ ref("stg_action_rows") }}
        where reasons is not null
        group by month
    ),
    reasons_explained as (select month, count(*) as n_reasons from {{ ref("stg_rejected_actions") }} group by month)
select 'actions' as table_name, reasons_given.month, '' as reason
from reasons_given
left join reasons_explained on reasons_given.month = reasons_explained.month
where reasons_given.n_reasons <> coalesce(reasons_explained.n_reasons, 0)
union all
select registrations.table_name, null as month, registrations.reason
from {{ ref("stg_rejected_registrations") }} as registrations
left join
    {{ ref("rejection_reasons") }} as known
    on registrations.table_name = known.table_name
    and registrations.reason = known.reason
where known.reason is null
