-- Registration weights, one row per registered child and month since its registration. 5 % of registrations are wrong,
-- so behaviour can lower the weight. macros/recursive_monthly.sql runs this text for all pending months at once.
{{
    config(
        materialized="recursive_monthly",
        meta={
            "months": "months_with_registrations",
            "state": "registration_state",
            "published": "c_is_known",
            "reads": {"stg_children": "never", "readout_weights": "never", "activity_log_likelihoods": "never"},
        },
    )
}}
{% set sums = {
    "log_likelihoods": "ll_child",
    "activity": "activity_of_child",
    "log_likelihood_of_birth": "case when age_months >= 0 then ll_child - ll_no_child else 0 end",
} %}
with
    children as (
        select
            children.*,
            carried.user_id is null as has_no_sums
            {% for name in sums %}, coalesce(carried.c_{{ name }}, 0) as c_{{ name }} {% endfor %}
        from {{ ref("stg_children") }} as children
        left join
            {{ previous_state() }} as carried
            on children.user_id = carried.user_id
            and children.child_no = carried.child_no
            and children.birth_date = carried.birth_date
    ),
    -- Months to add to the carried sums: the pending ones, and all before for a child without sums.
    months_of_children as (
        select
            children.*,
            children.known_from_month <= posteriors.month as is_known,
            posteriors.month,
            posteriors.first_month,
            posteriors.birth_confirmed,
            posteriors.months_of_evidence,
            posteriors.log_marginal_likelihood,
            posteriors.model_version,
            posteriors.last_active_month,
            posteriors.activity_code,
            {% for name in readout_term_columns() %} coalesce(posteriors.{{ name }}, 0) as {{ name }}, {% endfor %}
            {{ months_between("posteriors.month", "children.birth_date") }} as age_months
        from children
        inner join
            {{ ref("birth_month_filter") }} as posteriors
            on children.user_id = posteriors.user_id
            and (
                posteriors.month in {{ pending_months() }}
                or (children.has_no_sums and posteriors.month < {{ this_month() }})
            )
    ),
    monthly_log_likelihoods as (
        select
            children.*,
            count(case when children.is_known then 1 end) over (
                partition by children.user_id, children.month
            ) as n_known_children,
            coalesce({{ exact(log_likelihood_at_age("children.age_months")) }}, 0) as ll_child,
            coalesce(log_likelihoods.ll_not_yet, 0) as ll_no_child,
            coalesce(
                {{ in_thousandths(log_likelihood_at_age("children.age_months", "codes")) }}, 0
            ) as activity_of_child
        from months_of_children as children
        left join
            {{ ref("stage_log_likelihoods") }} as log_likelihoods
            on children.user_id = log_likelihoods.user_id
            and children.month = log_likelihoods.month
        left join
            {{ ref("activity_log_likelihoods") }} as codes
            on children.model_version = codes.model_version
            and children.activity_code = codes.activity_code
    ),
    -- The filter's carried sums for one grid point: log-likelihood of the birth month, and log-odds of a birth.
    running_sums as (
        select
            *
            {% for name, sql in sums.items() %}
                , c_{{ name }} + sum({{ sql }}) over (partition by user_id, child_no order by month) as {{ name }}
            {% endfor %}
        from monthly_log_likelihoods
    ),
    parameters as (
        select running_sums.*, readout.activity_weight, {{ readout_parameters() }}
        from running_sums
        inner join {{ ref("readout_weights") }} as readout on running_sums.model_version = readout.model_version
        where running_sums.month in {{ pending_months() }}
    ),
    read_out as (
        select
            *,
            tau * log_likelihoods
            + activity_weight * 0.001 * activity
            + case
                {% for bin in bins_in_stages() %}
                    when age_months >= {{ bin.from_month }} and age_months < {{ bin.to_month }} then bias_{{ bin.name }}
                {% endfor %}
                else 0
            end as log_odds
        from parameters
    ),
    -- Likelihood ratio of this birthday against the average. With several registered children the summed behaviour is
    -- not attributable to one child.
    weighted_births as (
        select
            *,
            case
                when n_known_children > 1 then cast(1 as double) else exp(least(log_odds - log_marginal_likelihood, 50))
            end as likelihood_ratio
        from read_out
    )
select
    user_id,
    child_no,
    month,
    birth_date,
    age_months,
    n_known_children,
    -- A birth is confirmed by a registration after it, or by odds of 20 to 1 against a loss. A due date before the
    -- first activity needs only the confirmation of an unregistered child.
    age_months >= 0
    and (
        coalesce(registered_at >= birth_date, birth_date < {{ months_after("known_from_month", 1) }})
        or (n_known_children = 1 and tau * log_likelihood_of_birth >= {{ log_odds_to_confirm() }})
        or (birth_date < first_month and birth_confirmed)
    ) as birth_confirmed,
    0.95 * likelihood_ratio / (0.95 * likelihood_ratio + 0.05) as registration_probability,
    is_known as c_is_known
    {% for name in sums %}, {{ name }} as c_{{ name }} {% endfor %}
from weighted_births
