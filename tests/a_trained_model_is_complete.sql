-- Completeness of models: two regressions, all settings, and either no weight of the readout or all.
with
    regressions as (
        select
            model_version,
            model_name,
            count(distinct case when parameter_type = 'coefficient' then feature end) as n_features,
            count(case when parameter_type = 'coefficient' then value end) as n_coefficients,
            count(case when parameter_type = 'support' and value >= 1 then value end) as n_supports,
            count(case when parameter_type = 'scale' and value > 0 then value end) as n_scales,
            count(case when parameter_type = 'intercept' then value end) as n_intercepts,
            sum(case when parameter_type = 'prior' and value > 0 then value end) as prior
        from {{ ref("stage_coefficients") }}
        where model_name in ('log_likelihood', 'memory_less')
        group by model_version, model_name
    ),
    models as (
        select
            model_version,
            count(*) - count(value) as n_values_missing,
            count(
                distinct case when parameter_type in ('coefficient', 'prior', 'intercept') then model_name end
            ) as n_regressions,
            count(
                case
                    when
                        parameter_type = 'setting'
                        and feature in ('tau', 'gamma', 'delta', 'birth_hazard', 'inverse_penalty')
                    then 1
                end
            ) as n_settings,
            count(
                case when model_name = 'readout' and parameter_type in ('log_tau', 'logit_delta') then 1 end
            ) as n_terms,
            count(case when model_name = 'readout' and parameter_type = 'bias' then 1 end) as n_biases,
            count(case when model_name = 'readout' and parameter_type = 'interval_level' then 1 end) as n_levels,
            count(case when model_name = 'readout' and parameter_type = 'activity' then 1 end) as n_activity,
            sum(case when parameter_type = 'initial_prior' then value end) as initial_prior
        from {{ ref("stage_coefficients") }}
        group by model_version
    ),
    bins as (select count(*) as n_bins from {{ ref("age_bins") }})
select models.*, regressions.model_name
from models
inner join regressions on models.model_version = regressions.model_version
cross join bins
where
    models.n_values_missing > 0
    or models.n_regressions <> 2
    or models.n_settings <> 5
    or not coalesce(abs(models.initial_prior - 1) < 1e-9, false)
    or regressions.n_coefficients <> regressions.n_features * bins.n_bins
    or regressions.n_supports <> regressions.n_features
    or regressions.n_scales <> regressions.n_features
    or regressions.n_intercepts <> bins.n_bins
    or not coalesce(abs(regressions.prior - 1) < 1e-9, false)
    or (
        models.n_terms > 0
        and (
            models.n_terms <> {{ 2 * readout_terms() | length }}
            or models.n_biases <> {{ readout_terms() | length * bins_in_stages() | length }}
            or models.n_levels <> {{ stage_names() | length * interval_bands() | length }}
            or models.n_activity <> 40 * bins.n_bins
        )
    )
