-- Every model has a value for each feature and age bin, a prior that sums to one, and all its settings.
with
    parts as (
        select
            model_version,
            count(*) as n_rows,
            count(value) as n_values,
            count(distinct case when kind = 'coefficient' then feature end) as n_features,
            count(case when kind = 'coefficient' then 1 end) as n_coefficients,
            count(case when kind = 'intercept' then 1 end) as n_intercepts,
            count(case when kind = 'prior' then 1 end) as n_priors,
            count(
                case when kind = 'setting' and feature in ('tau', 'gamma', 'delta', 'birth_hazard') then 1 end
            ) as n_settings,
            sum(case when kind = 'prior' then value end) as prior
        from {{ ref("stage_coefficients") }}
        group by model_version
    ),
    bins as (select count(*) as n_bins from {{ ref("age_bins") }})
select parts.*, bins.n_bins
from parts
cross join bins
where
    parts.n_values <> parts.n_rows
    or parts.n_coefficients <> parts.n_features * bins.n_bins
    or parts.n_intercepts <> bins.n_bins
    or parts.n_priors <> bins.n_bins
    or parts.n_settings <> 4
    or not coalesce(abs(parts.prior - 1) < 1e-9, false)
