-- Top features per stage in the newest model, one row per stage and rank: the largest weights relative to all stages.
-- Features of few users are suppressed.
{{ config(materialized="view") }}
{% set n_candidates, n_top = 30, 6 %}
with
    weights as (
        select
            stages.stage,
            coefficients.feature,
            sum(coefficients.value * (bins.to_month - bins.from_month)) / sum(bins.to_month - bins.from_month) as weight
        from {{ ref("stage_coefficients") }} as coefficients
        inner join {{ ref("age_bins") }} as bins on coefficients.age_bin = bins.age_bin
        inner join
            {{ ref("stages") }} as stages on bins.from_month >= stages.from_month and bins.to_month <= stages.to_month
        where
            coefficients.model_name = 'log_likelihood'
            and coefficients.parameter_type = 'coefficient'
            and coefficients.trained_through = (select max(trained_through) from {{ ref("stage_coefficients") }})
        group by stages.stage, coefficients.feature
    ),
    centred as (
        -- One active day has the value ln(1 + 1).
        select stage, feature, ln(2) * (weight - avg(weight) over (partition by feature)) as weight from weights
    ),
    candidates as (
        select stage, feature, weight
        from
            (
                select *, row_number() over (partition by stage order by weight desc, feature) as rank from centred
            ) as ranked_features
        where rank <= {{ n_candidates }}
    ),
    frequent_features as (
        select feature
        from {{ ref("user_month_features") }}
        where feature in (select feature from candidates)
        group by feature
        having count(distinct user_id) >= {{ setting("marts_min_cell_users") }}
    ),
    top as (
        select
            candidates.*,
            row_number() over (
                partition by candidates.stage order by candidates.weight desc, candidates.feature
            ) as rank
        from candidates
        inner join frequent_features on candidates.feature = frequent_features.feature
    )
select stage, cast(rank as integer) as rank, feature, weight
from top
where rank <= {{ n_top }}
