-- Predictions compared with later outcomes, one row per subject, model and month: posteriors with the next month's
-- registrations, recommendations with the month's purchases.
{% set runs, names = existing(own_source("last_run", "model_runs")), stage_names() %}
with
    -- Registrations after a model's training run, and test users, are unseen by the model.
    models as (
        select model_version, min(cast(started_at as date)) as made_on
        from {{ runs or "(select cast(null as string) as model_version, cast(null as date) as started_at) as no_runs" }}
        group by model_version
    ),
    registered as (
        select
            user_id,
            month as month_before,
            {{ months_after("month", 1) }} as month,
            registered_at,
            split,
            {{ stage_at("age_months") }} as stage
        from {{ ref("stage_labels") }}
        where n_children = 1 and {{ month_of(business_time("registered_at")) }} = {{ months_after("month", 1) }}
    ),
    posteriors as (
        select
            'life_stage' as subject,
            posteriors.model_version as model,
            registered.user_id,
            registered.month,
            {{ first_greatest("posteriors.p_", names) }} = registered.stage as is_right,
            greatest(
                {% for name in names %}posteriors.p_{{ name }} {%- if not loop.last %}, {% endif %} {% endfor %}
            ) as probability,
            case
                registered.stage {% for name in names %} when '{{ name }}' then posteriors.p_{{ name }} {% endfor %}
            end as relevance,
            1 as is_case
        from registered
        inner join
            {{ ref("stage_posteriors") }} as posteriors
            on registered.user_id = posteriors.user_id
            and registered.month_before = posteriors.month
        left join models on posteriors.model_version = models.model_version
        where
            posteriors.method = '{{ setting("fusion_method") }}'
            and posteriors.is_primary
            and registered.stage is not null
            and (registered.split = 'test' or cast(registered.registered_at as date) > models.made_on)
    ),
    {% if setting("checkout_months") %}
        recommended as (
            select
                concat('checkout_', scores.kind) as subject,
                scores.model,
                scores.user_id,
                scores.month,
                rankings.is_relevant as is_right,
                rankings.probability,
                -- Once per query, also without an item served.
                case
                    when coalesce(rankings.rank, 1) = 1 and scores.has_relevant_items = 1 then scores.ndcg_at_10
                end as relevance,
                case when coalesce(rankings.rank, 1) = 1 then 1 else 0 end as is_case
            from {{ ref("checkout_query_scores") }} as scores
            left join
                {{ ref("checkout_rankings") }} as rankings
                on scores.model = rankings.model
                and scores.query_id = rankings.query_id
                and rankings.rank <= 10
        ),
    {% endif %}
    predictions as (
        select *
        from posteriors
        {% if setting("checkout_months") %}
            union all
            select *
            from recommended
        {% endif %}
    ),
    bins as (
        select
            subject,
            model,
            month,
            count(probability) as n_predictions,
            sum(is_case) as n_cases,
            count(relevance) as n_relevant,
            sum({{ exact("relevance") }}) as relevance,
            sum(cast(is_right as integer)) as n_right,
            sum({{ exact("probability") }}) as probability
        from predictions
        group by subject, model, month, {{ probability_bin("probability") }}
    ),
    of_users as (
        select subject, model, month, count(probability) as n_predictions
        from predictions
        group by subject, model, month, user_id
    ),
    alone as (
        select subject, model, month, {{ effective_sample_size("n_predictions") }} as n_alone
        from of_users
        group by subject, model, month
    ),
    quality as (
        select
            subject,
            model,
            month,
            cast(sum(n_cases) as bigint) as n_cases,
            cast(sum(n_predictions) as bigint) as n_predictions,
            cast(sum(n_right) as double) / nullif(sum(n_predictions), 0) as accuracy,
            sum(relevance) / nullif(sum(n_relevant), 0) as relevance,
            sum(probability) / nullif(sum(n_predictions), 0) as mean_probability,
            sum(abs(n_right - probability)) / nullif(sum(n_predictions), 0) as calibration_error
        from bins
        group by subject, model, month
    )
select quality.*, {{ wilson_limits("quality.accuracy", "alone.n_alone", "accuracy") }}
from quality
inner join alone on quality.subject = alone.subject and quality.model = alone.model and quality.month = alone.month
