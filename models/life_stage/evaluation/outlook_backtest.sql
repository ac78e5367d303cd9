-- Back-test of the outlook on test users, one row per horizon, stage and threshold: how many of the listed children
-- entered the stage, and what share of those that entered it was listed. Children that are born: no birth is listed.
{% set later_stages = stages() | selectattr("from_month", "gt", 0) | map(attribute="name") | list %}
with
    truths as (
        select labels.user_id, labels.month, labels.age_months, {{ stage_at("labels.age_months") }} as stage
        from {{ ref("stage_labels") }} as labels
        where labels.split = 'test' and labels.n_children = 1
    ),
    predictions as (
        {% for horizon in [1, 2, 3] %}
            {% for stage in later_stages %}
                select
                    user_id,
                    cast(month as date) as month,
                    {{ horizon }} as horizon,
                    '{{ stage }}' as stage,
                    entering_{{ horizon }}_{{ stage }} as probability
                from {{ ref("evaluation_predictions") }}
                where method = 'birth_month_filter' and has_prediction
                {% if not loop.last %}
                    union all
                {% endif %}
            {% endfor %}
            {% if not loop.last %}
                union all
            {% endif %}
        {% endfor %}
    ),
    compared as (
        select
            predictions.user_id,
            predictions.horizon,
            predictions.stage,
            predictions.probability,
            coalesce(later.stage = predictions.stage and coalesce(now.stage, '') <> later.stage, false) as has_entered
        from predictions
        inner join
            truths as now on predictions.user_id = now.user_id and predictions.month = now.month and now.age_months >= 0
        inner join
            truths as later
            on predictions.user_id = later.user_id
            and {{ months_after("predictions.month", "predictions.horizon") }} = later.month
    ),
    thresholds as (
        {% for threshold in [0.5, 0.7, 0.9] %}
            select {{ threshold }} as threshold
            {% if not loop.last %}
                union all
            {% endif %}
        {% endfor %}
    ),
    of_stages as (
        select *
        from compared
        union all
        select user_id, horizon, 'all' as stage, probability, has_entered
        from compared
    ),
    of_users as (
        select
            of_stages.horizon,
            of_stages.stage,
            thresholds.threshold,
            of_stages.user_id,
            sum(case when probability > threshold then 1 else 0 end) as n_listed,
            sum(case when has_entered then 1 else 0 end) as n_movers,
            sum(case when probability > threshold and has_entered then 1 else 0 end) as n_found
        from of_stages
        cross join thresholds
        group by of_stages.horizon, of_stages.stage, thresholds.threshold, of_stages.user_id
    ),
    counts as (
        select
            horizon,
            stage,
            threshold,
            sum(n_listed) as n_listed,
            sum(n_movers) as n_movers,
            cast(sum(n_found) as double) / nullif(sum(n_listed), 0) as precision_share,
            cast(sum(n_found) as double) / nullif(sum(n_movers), 0) as recall,
            {{ effective_sample_size("n_listed") }} as n_listed_effective,
            {{ effective_sample_size("n_movers") }} as n_moved_effective,
            count(case when n_listed > 0 then 1 end) >= {{ setting("marts_min_cell_users") }} as is_listed_large,
            count(case when n_movers > 0 then 1 end) >= {{ setting("marts_min_cell_users") }} as is_moved_large
        from of_users
        group by horizon, stage, threshold
    )
select
    horizon,
    stage,
    cast(threshold as double) as threshold,
    cast(case when is_listed_large then n_listed end as bigint) as n_listed,
    cast(case when is_moved_large then n_movers end as bigint) as n_movers,
    case when is_listed_large then precision_share end as precision_share,
    {% for side in ["lowest", "highest"] %}
        case
            when is_listed_large then {{ wilson_limit("precision_share", "n_listed_effective", side) }}
        end as {{ side }}_precision,
    {% endfor %}
    case when is_listed_large and is_moved_large then recall end as recall,
    {% for side in ["lowest", "highest"] %}
        case
            when is_listed_large and is_moved_large then {{ wilson_limit("recall", "n_moved_effective", side) }}
        end as {{ side }}_recall
        {%- if not loop.last %},{% endif %}
    {% endfor %}
from counts
