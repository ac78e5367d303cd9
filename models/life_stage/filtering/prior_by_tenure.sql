-- Prior over the birth month, one row per model and months since first activity: the training users' initial age
-- distribution, shifted by one month per month, plus births at the hazard rate.
{% set first_age, last_age = cell_ages()[0], cell_ages()[-1] %}
{% set before_all, after_all = first_age - 1000, last_age + 1000 %}
with
    tenures as (
        select {{ months_between("month", "min(month) over ()") }} as tenure_months
        from {{ ref("month_calendar") }}
        where is_closed
    ),
    models_in_use as (
        select models.model_version, models.birth_hazard
        from {{ ref("model_registry") }} as models
        inner join
            (select distinct model_version from {{ ref("month_model_assignments") }}) as used
            on models.model_version = used.model_version
    ),
    bin_priors as (
        select
            models_in_use.model_version,
            models_in_use.birth_hazard,
            bins.from_month,
            bins.to_month,
            coefficients.value as prior
        from {{ ref("stage_coefficients") }} as coefficients
        inner join models_in_use on coefficients.model_version = models_in_use.model_version
        inner join {{ ref("age_bins") }} as bins on coefficients.age_bin = bins.age_bin
        where coefficients.parameter_type = 'initial_prior'
    ),
    -- In the first month, a bin's share is spread evenly over its ages.
    initial_distribution as (
        select
            bin_priors.model_version,
            ages.n as age,
            bin_priors.prior / (bin_priors.to_month - bin_priors.from_month) as prior
        from bin_priors
        inner join
            ({{ every_integer(first_age, last_age + 1) }}) as ages
            on ages.n >= bin_priors.from_month
            and (ages.n < bin_priors.to_month or (ages.n = bin_priors.to_month and ages.n > {{ last_age }}))
        where bin_priors.to_month > {{ first_age }}
    ),
    not_yet as (select model_version, birth_hazard, prior from bin_priors where to_month <= {{ first_age }}),
    aged as (
        select
            initial_distribution.model_version,
            tenures.tenure_months,
            case
                when initial_distribution.age + tenures.tenure_months > {{ last_age }}
                then {{ after_all }}
                else initial_distribution.age + tenures.tenure_months
            end as age,
            initial_distribution.prior
        from initial_distribution
        cross join tenures
        union all
        select
            not_yet.model_version,
            tenures.tenure_months,
            {{ first_age }} + entered.n as age,
            not_yet.prior
            * power(1 - not_yet.birth_hazard, tenures.tenure_months - 1 - entered.n)
            * not_yet.birth_hazard as prior
        from not_yet
        cross join tenures
        inner join ({{ every_integer(0, last_age - first_age) }}) as entered on entered.n < tenures.tenure_months
        union all
        select
            not_yet.model_version,
            tenures.tenure_months,
            {{ before_all }} as age,
            not_yet.prior * power(1 - not_yet.birth_hazard, tenures.tenure_months) as prior
        from not_yet
        cross join tenures
    ),
    shares as (
        select
            model_version,
            tenure_months,
            age,
            sum(prior) / sum(sum(prior)) over (partition by model_version, tenure_months) as prior
        from aged
        group by model_version, tenure_months, age
    )
select
    model_version,
    tenure_months,
    {% for stage in stages() %}
        sum(
            case when age >= {{ stage.from_month }} and age < {{ stage.to_month }} then prior end
        ) as prior_{{ stage.name }},
    {% endfor %}
    sum(case when age = {{ before_all }} then prior end) as prior_not_yet,
    sum(case when age >= {{ stages()[-1].to_month }} then prior end) as prior_graduated,
    ln(max(case when age = {{ before_all }} then prior end)) as l_not_yet,
    {% for name in cells()[1:-1] %}
        ln(max(case when age = {{ first_age + loop.index0 }} then prior end)) as l_{{ name }},
    {% endfor %}
    ln(max(case when age = {{ after_all }} then prior end)) as l_graduated
from shares
group by model_version, tenure_months
