-- Reliability of the predicted probabilities of the first ten items, one row per kind, model and probability band, over
-- all evaluated months.
{% set bands = ["0 to 0.03", "0.03 to 0.1", "0.1 to 0.3", "0.3 to 1"] %}
with
    banded as (
        select
            queries.kind,
            rankings.model,
            queries.user_id,
            rankings.probability,
            rankings.is_relevant,
            case
                {% for band in bands[:-1] %}
                    when rankings.probability < {{ band.split(" to ")[1] }} then '{{ band }}'
                {% endfor %}
                else '{{ bands[-1] }}'
            end as probability_band
        from {{ ref("checkout_rankings") }} as rankings
        inner join
            {{ ref("checkout_queries") }} as queries
            on rankings.month = queries.month
            and rankings.query_id = queries.query_id
        where rankings.rank <= 10
    ),
    of_users as (
        select
            kind,
            model,
            probability_band,
            user_id,
            count(*) as n_items,
            sum({{ exact("probability") }}) as sum_probability,
            sum(cast(is_relevant as integer)) as n_relevant
        from banded
        group by kind, model, probability_band, user_id
    ),
    counted as (
        select
            kind,
            model,
            probability_band,
            cast(sum(n_items) as bigint) as n_items,
            count(*) as n_users,
            sum(sum_probability) / sum(n_items) as mean_probability,
            cast(sum(n_relevant) as double) / sum(n_items) as relevant_share,
            sum(sum_probability) / nullif(sum(n_relevant), 0) as ratio,
            {{ effective_sample_size("n_items") }} as n_effective
        from of_users
        group by kind, model, probability_band
    )
select
    kind,
    model,
    probability_band,
    n_items,
    n_users,
    mean_probability,
    relevant_share,
    {{ wilson_limits("relevant_share", "n_effective", "relevant_share") }},
    ratio
from counted
