-- How well each model answered each judged case: in sums, of which means and their errors are made.
{% set gain = "1 / log2(rank_no + 1)" %}
{% set counts = [
    "n_ranked",
    "n_ranked_targets",
    "n_wrong_before",
    "n_hits_at_10",
    "n_hits_at_20",
    "n_new_hits_at_20",
    "n_shown",
] %}
with
    judged as (
        select cases.*, users.tenure_days
        from {{ ref("checkout_cases") }} as cases
        left join {{ ref("checkout_users") }} as users on cases.month = users.month and cases.user_id = users.user_id
        where cases.is_judged
    ),
    models as (select distinct month, kind, model from {{ ref("checkout_coefficients") }}),
    hits as (
        select
            rankings.*,
            items.is_new,
            sum(case when rankings.is_target then 1 else 0 end) over (
                partition by rankings.model, rankings.case_no
                order by rankings.rank_no
                rows between unbounded preceding and current row
            ) as n_hits
        from {{ ref("checkout_rankings") }} as rankings
        inner join judged on rankings.case_no = judged.case_no
        inner join
            {{ ref("checkout_items") }} as items on judged.month = items.month and rankings.item_no = items.item_no
    ),
    found as (
        select
            model,
            case_no,
            max(n_ranked) as n_ranked,
            count(case when is_target then 1 end) as n_ranked_targets,
            sum(case when is_target then rank_no - n_hits else 0 end) as n_wrong_before,
            count(case when is_target and rank_no <= 10 then 1 end) as n_hits_at_10,
            count(case when is_target and rank_no <= 20 then 1 end) as n_hits_at_20,
            count(case when is_target and is_new and rank_no <= 20 then 1 end) as n_new_hits_at_20,
            sum(
                {{ exact("case when is_target and rank_no <= 10 then n_hits * 1.0 / rank_no else 0 end") }}
            ) as precisions,
            sum({{ exact("case when is_target and rank_no <= 10 then " ~ gain ~ " else 0 end") }}) as dcg,
            count(case when rank_no <= 10 then 1 end) as n_shown,
            sum(
                {{
                    exact(
                        "case when rank_no <= 10 then power(probability - case when is_target then 1 else 0 end, 2) else 0 end"
                    )
                }}
            ) as squared_error,
            sum(
                {{
                    exact(
                        "case when rank_no <= 10 then probability - case when is_target then 1 else 0 end else 0 end"
                    )
                }}
            ) as excess_probability
        from hits
        group by model, case_no
    ),
    new_targets as (
        select judged.case_no, count(*) as n_new_targets
        from judged
        inner join {{ ref("checkout_targets") }} as targets on judged.case_no = targets.case_no
        inner join
            {{ ref("checkout_items") }} as items on judged.month = items.month and targets.item_no = items.item_no
        where items.is_new
        group by judged.case_no
    ),
    catalogue as (select count(*) as n_items from {{ ref("checkout_catalogue") }}),
    ideals as (
        select n, sum({{ exact("1 / log2(n + 1)") }}) over (order by n) as ideal
        from ({{ every_integer(1, 10) }}) as numbers
    ),
    answers as (
        select
            judged.*,
            models.model,
            catalogue.n_items - judged.n_given - judged.n_targets as n_wrong,
            ideals.ideal,
            coalesce(new_targets.n_new_targets, 0) as n_new_targets,
            {% for count in counts %} coalesce(found.{{ count }}, 0) as {{ count }}, {% endfor %}
            coalesce(found.precisions, 0.0) as precisions,
            coalesce(found.dcg, 0.0) as dcg,
            coalesce(found.squared_error, 0.0) as squared_error,
            coalesce(found.excess_probability, 0.0) as excess_probability
        from judged
        inner join models on judged.month = models.month and judged.kind = models.kind
        cross join catalogue
        left join new_targets on judged.case_no = new_targets.case_no
        left join ideals on least(judged.n_targets, 10) = ideals.n
        left join found on models.model = found.model and judged.case_no = found.case_no
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
