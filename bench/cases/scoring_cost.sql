-- Scoring of one month in bench/scoring_cost.py, three pieces of work.
-- name: bare scan
select max(user_id), max(acted_on), max(action), max(item_id), max(search_term)
from {{ warehouse }}.stg_actions
where month = '{{ month }}'
;
-- name: features and log-likelihoods
create table scratch.user_month_features as {{ user_month_features }}
;
create table scratch.stage_log_likelihoods as {{ stage_log_likelihoods }}
;
-- name: push-down
-- Sum over distinct (day, action, item) of the item's summed weights.
create table scratch.pushed_down as
with
    weights as (from {{ warehouse }}.model_weights where model_version = '{{ model_version }}'),
    carried as (
        select item_id, action, case when own then feature else concat(feature, ':', action) end as feature
        from {{ warehouse }}.item_features
        cross join
            (
                values
                    ('click', true),
                    ('collect', true),
                    ('cart', true),
                    ('purchase', true),
                    ('collect', false),
                    ('cart', false),
                    ('purchase', false)
            ) as of_action(action, own)
    ),
    items as (
        select
            item_id,
            action,
            count(*) as n
{% for bin in bins %}, round(sum(w_{{ bin }}) * 68719476736) / 68719476736 as w_{{ bin }}
{% endfor %}
        from carried
        join weights using (feature)
        group by all
    ),
    terms as (
        select
            search_term,
            count(*) as n
{% for bin in bins %}, round(sum(w_{{ bin }}) * 68719476736) / 68719476736 as w_{{ bin }}
{% endfor %}
        from {{ warehouse }}.search_term_features
        join weights using (feature)
        group by all
    ),
    observed as (
        select distinct user_id, acted_on, action, item_id, search_term
        from {{ warehouse }}.stg_actions
        where month = '{{ month }}'
    )
select
    user_id,
    sum(coalesce(items.n, 0) + coalesce(terms.n, 0)) as total
{% for bin in bins %}
        ,
        (coalesce(sum(items.w_{{ bin }}), 0) + coalesce(sum(terms.w_{{ bin }}), 0))
        / sqrt(greatest(1, total)) as ll_{{ bin }}
{% endfor %}
from observed
left join items using (item_id, action)
left join terms using (search_term)
group by user_id
;
