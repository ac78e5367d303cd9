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
    )
select
    kind,
    model,
    probability_band,
    count(*) as n_items,
    count(distinct user_id) as n_users,
    sum({{ exact("probability") }}) / count(*) as mean_probability,
    avg(cast(is_relevant as integer)) as relevant_share,
    sum({{ exact("probability") }}) / nullif(sum(cast(is_relevant as integer)), 0) as ratio
from banded
group by kind, model, probability_band
