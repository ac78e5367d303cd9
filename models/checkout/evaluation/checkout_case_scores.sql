-- How well each model answered each judged case: in sums, of which means and their errors are made.
{% set sums = {
    "n_ranked_targets": "case when is_target then 1 else 0 end",
    "n_wrong_before": "case when is_target then rank_no - n_hits else 0 end",
    "n_hits_at_10": "case when is_target and rank_no <= 10 then 1 else 0 end",
    "n_hits_at_20": "case when is_target and rank_no <= 20 then 1 else 0 end",
    "n_new_hits_at_20": "case when is_target and is_new and rank_no <= 20 then 1 else 0 end",
    "n_shown": "case when rank_no <= 10 then 1 else 0 end",
    "precisions": exact("case when is_target and rank_no <= 10 then n_hits * 1.0 / rank_no else 0 end"),
    "dcg": exact("case when is_target and rank_no <= 10 then 1 / log2(rank_no + 1) else 0 end"),
    "excess_probability": exact(
        "case when rank_no > 10 then 0 when is_target then probability - 1 else probability end"
    ),
    "squared_error": exact(
        "case when rank_no > 10 then 0 when is_target then power(1 - probability, 2) else power(probability, 2) end"
    ),
} %}
with
    models as (select distinct month, kind, model from {{ ref("checkout_coefficients") }}),
    hits as (
        select
            *,
            sum(case when is_target then 1 else 0 end) over (
                partition by model, case_no order by rank_no rows between unbounded preceding and current row
            ) as n_hits
        from {{ ref("checkout_rankings") }}
    ),
    found as (
        select
            model,
            case_no,
            max(n_ranked) as n_ranked
            {% for name, term in sums.items() %}, sum({{ term }}) as {{ name }} {% endfor %}
        from hits
        group by model, case_no
    ),
    new_targets as (
        select cases.case_no, count(*) as n_new_targets
        from {{ ref("checkout_cases") }} as cases
        inner join {{ ref("checkout_targets") }} as targets on cases.case_no = targets.case_no
        inner join {{ ref("checkout_items") }} as items on cases.month = items.month and targets.item_no = items.item_no
        where items.is_new
        group by cases.case_no
    ),
    ideals as (
        select n, sum({{ exact("1 / log2(n + 1)") }}) over (order by n) as ideal
        from ({{ every_integer(1, 10) }}) as numbers
    ),
    answers as (
        select
            cases.*,
            users.tenure_days,
            models.model,
            (select count(*) from {{ ref("checkout_catalogue") }}) - cases.n_given - cases.n_targets as n_wrong,
            ideals.ideal,
            coalesce(new_targets.n_new_targets, 0) as n_new_targets,
            coalesce(found.n_ranked, 0) as n_ranked
            {% for name in sums %}, coalesce(found.{{ name }}, 0) as {{ name }} {% endfor %}
        from {{ ref("checkout_cases") }} as cases
        inner join models on cases.month = models.month and cases.kind = models.kind
        left join {{ ref("checkout_users") }} as users on cases.month = users.month and cases.user_id = users.user_id
        left join new_targets on cases.case_no = new_targets.case_no
        left join ideals on least(cases.n_targets, 10) = ideals.n
        left join found on models.model = found.model and cases.case_no = found.case_no
        where cases.is_judged
    )
select
    model,
    case_no,
    month,
    kind,
    user_id,
    stage,
    case
        when n_baskets = 0 then 'new' when n_baskets < 10 then 'below 10 baskets' else '10 baskets or more'
    end as activity,
    case
        when tenure_days is null then 'new' when tenure_days < 180 then 'below 180 days' else '180 days or more'
    end as tenure,
    case when n_targets > 0 then 1 else 0 end as has_right_answers,
    n_new_targets,
    n_new_hits_at_20,
    n_shown,
    10 as n_places,
    squared_error,
    excess_probability,
    coalesce(n_hits_at_10 * 1.0 / nullif(n_targets, 0), 0.0) as recall_at_10,
    coalesce(n_hits_at_20 * 1.0 / nullif(n_targets, 0), 0.0) as recall_at_20,
    coalesce(precisions / nullif(least(n_targets, 10), 0), 0.0) as precision_at_10,
    coalesce(dcg / ideal, 0.0) as ndcg_at_10,
    -- How often a right answer stands before a wrong one; items that are not ranked are tied at the end.
    coalesce(
        1
        - (n_wrong_before + (n_targets - n_ranked_targets) * (n_ranked - n_ranked_targets + n_wrong) / 2.0)
        / nullif(n_targets * n_wrong, 0),
        0.0
    ) as auc
from answers
