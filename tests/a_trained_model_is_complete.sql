-- Every model has two regressions, complete for each feature and age bin, shares that sum to one, and all its settings.
with
    regressions as (
        select
            model_version,
            regression,
            count(distinct case when kind = 'coefficient' then feature end) as n_features,
            count(case when kind = 'coefficient' then value end) as n_coefficients,
            count(case when kind = 'support' and value >= 1 then value end) as n_supports,
            count(case when kind = 'scale' and value > 0 then value end) as n_scales,
            count(case when kind = 'intercept' then value end) as n_intercepts,
            sum(case when kind = 'prior' and value > 0 then value end) as prior
        from {{ ref("stage_coefficients") }}
        where regression <> 'both'
        group by model_version, regression
    ),
    models as (
        select
            model_version,
            count(*) - count(value) as n_values_missing,
            count(
                distinct case when kind in ('coefficient', 'prior', 'intercept') then regression end
            ) as n_regressions,
            count(
                case
                    when kind = 'setting' and feature in ('tau', 'gamma', 'delta', 'birth_hazard', 'inverse_penalty')
                    then 1
                end
            ) as n_settings,
            sum(case when kind = 'start' then value end) as start
        from {{ ref("stage_coefficients") }}
        group by model_version
    ),
    bins as (select count(*) as n_bins from {{ ref("age_bins") }})
select models.*, regressions.regression
from models
inner join regressions on models.model_version = regressions.model_version
cross join bins
where
    models.n_values_missing > 0
    or models.n_regressions <> 2
    or models.n_settings <> 5
    or not coalesce(abs(models.start - 1) < 1e-9, false)
    or regressions.n_coefficients <> regressions.n_features * bins.n_bins
    or regressions.n_supports <> regressions.n_features
    or regressions.n_scales <> regressions.n_features
    or regressions.n_intercepts <> bins.n_bins
    or not coalesce(abs(regressions.prior - 1) < 1e-9, false)
