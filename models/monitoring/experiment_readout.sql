-- Conversion by arm, one row per online experiment.
with
    buyers as (select distinct user_id, month from {{ ref("stg_actions") }} where action = 'purchase'),
    active_users as (
        select
            experiments.experiment,
            experiments.treated_share,
            arms.arm,
            acted.user_id,
            max(case when buyers.user_id is not null then 1 else 0 end) as has_bought
        from {{ ref("experiments") }} as experiments
        inner join {{ ref("user_months") }} as acted on acted.month >= experiments.first_month
        inner join
            {{ ref("experiment_arms") }} as arms
            on experiments.experiment = arms.experiment
            and acted.user_id = arms.user_id
        left join buyers on acted.user_id = buyers.user_id and acted.month = buyers.month
        group by experiments.experiment, experiments.treated_share, arms.arm, acted.user_id
    ),
    counts as (
        select
            experiment,
            treated_share,
            cast(sum(case when arm = 'treatment' then 1 else 0 end) as double) as n_treated,
            cast(sum(case when arm = 'control' then 1 else 0 end) as double) as n_control,
            sum(case when arm = 'treatment' then has_bought else 0 end) as n_treated_buyers,
            sum(case when arm = 'control' then has_bought else 0 end) as n_control_buyers
        from active_users
        group by experiment, treated_share
    ),
    conversions as (
        select
            *,
            n_treated_buyers / nullif(n_treated, 0) as treated_conversion,
            n_control_buyers / nullif(n_control, 0) as control_conversion,
            -- Pearson's chi-square statistic of the two counts.
            power(n_treated - treated_share * (n_treated + n_control), 2)
            / (treated_share * (1 - treated_share) * (n_treated + n_control)) as ratio_statistic
        from counts
    ),
    differences as (
        select
            *,
            treated_conversion - control_conversion as difference,
            sqrt(
                treated_conversion * (1 - treated_conversion) / nullif(n_treated, 0)
                + control_conversion * (1 - control_conversion) / nullif(n_control, 0)
            ) as difference_error,
            {{ sequence_z("(n_treated_buyers + n_control_buyers)", "(n_treated + n_control)") }} as sequence_z
        from conversions
    ),
    limits as (
        select
            *,
            {% for side in ["lowest", "highest"] %}
                {{ newcombe_limit("treated_conversion", "n_treated", "control_conversion", "n_control", side) }}
                as {{ side }}_difference,
                {{
                    newcombe_limit(
                        "treated_conversion", "n_treated", "control_conversion", "n_control", side, "sequence_z"
                    )
                }} as {{ side }}_in_sequence
                {%- if not loop.last %},{% endif %}
            {% endfor %}
        from differences
    )
select
    experiment,
    cast(n_treated as bigint) as n_treated,
    cast(n_control as bigint) as n_control,
    treated_conversion,
    control_conversion,
    difference,
    difference_error,
    lowest_difference,
    highest_difference,
    lowest_in_sequence,
    highest_in_sequence,
    {{
        verdict(
            "lowest_in_sequence",
            "highest_in_sequence",
            "control_conversion",
            "n_treated_buyers + n_control_buyers",
            "least(n_treated, n_control)",
        )
    }} as verdict,
    ratio_statistic,
    -- Critical value of p = 0.001 with one degree of freedom.
    ratio_statistic > 10.83 as has_ratio_mismatch
from limits
