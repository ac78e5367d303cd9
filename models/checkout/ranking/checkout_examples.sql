-- Every candidate of a case with all that is known of it, in columns: what the rankers learn from and are asked about.
with
    candidates as (
        select
            case_no,
            item_no
            {% for source in checkout_sources() %}
                ,
                ln(1 + coalesce(max(case when source = '{{ source }}' then score end), 0.0)) as {{ source }},
                coalesce(
                    max(case when source = '{{ source }}' then 1 / sqrt(cast(place as double)) end), 0.0
                ) as {{ source }}_place
            {% endfor %}
            {% for measure in checkout_measures() %}
                , coalesce(max(case when source = '{{ measure }}_cart' then score end), 0.0) as {{ measure }}_of_cart
            {% endfor %}
        from {{ ref("checkout_candidates") }}
        group by case_no, item_no
    ),
    habits as (select *, ln(0.05 + since_days / (interval_days + 3)) as due from {{ ref("checkout_case_habits") }})
select
    cases.month,
    cases.kind,
    cases.is_judged,
    cases.stage,
    candidates.case_no,
    candidates.item_no,
    {% for source in checkout_sources() %} candidates.{{ source }}, candidates.{{ source }}_place, {% endfor %}
    {% for measure in checkout_measures() %}
        candidates.{{ measure }}_of_cart / greatest(cases.n_given, 1) as {{ measure }}_each,
    {% endfor %}
    coalesce(ln(1 + habits.score_lately), 0.0) as habit_lately,
    coalesce(habits.n_baskets / (cases.n_baskets + 2.0), 0.0) as habit_share,
    coalesce(ln(1.0 + habits.since_days), 6.0) as since,
    coalesce(habits.due, 0.0) as due,
    coalesce(abs(habits.due), 2.0) as off_due,
    ln(items.share) as popularity,
    coalesce(ln({{ mixed_share("items", "users") }} / items.share), 0.0) as stage_lift,
    coalesce(ln({{ mixed_share("items", "users", 1) }} / items.share), 0.0) as next_stage_lift,
    ln(1 + cases.n_baskets) as frequency,
    coalesce(ln(1 + users.recency_days), 0.0) as recency,
    items.is_new,
    case when targets.item_no is null then 0 else 1 end as is_target
from candidates
inner join {{ ref("checkout_cases") }} as cases on candidates.case_no = cases.case_no
inner join {{ ref("checkout_items") }} as items on cases.month = items.month and candidates.item_no = items.item_no
left join habits on candidates.case_no = habits.case_no and candidates.item_no = habits.item_no
left join {{ ref("checkout_users") }} as users on cases.month = users.month and cases.user_id = users.user_id
left join
    {{ ref("checkout_targets") }} as targets
    on candidates.case_no = targets.case_no
    and candidates.item_no = targets.item_no
