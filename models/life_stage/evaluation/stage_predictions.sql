-- What each method said about the test users, whose registrations no model has seen, beside what they registered.
-- Every month from the user's first counts; a method with nothing to say (an empty month) falls back to the prior.
{% set bins, names = age_bins(), stage_names() %}
with
    truths as (
        select
            labels.user_id,
            labels.month,
            case
                {% for stage in stages() %}
                    when labels.age_months >= {{ stage.from_month }} and labels.age_months < {{ stage.to_month }}
                    then '{{ stage.name }}'
                {% endfor %}
            end as true_stage
        from {{ ref("stage_labels") }} as labels
        where labels.split = 'test' and labels.n_children = 1
    ),
    bin_priors as (
        select
            model_version
            {% for bin in bins %}
                , max(case when age_bin = '{{ bin.name }}' then value end) as bin_{{ bin.name }}
            {% endfor %}
        from {{ ref("stage_coefficients") }}
        where regression = 'memory_less' and kind = 'prior'
        group by model_version
    ),
    -- Masses of the stages, not yet divided by their sum.
    masses as (
        select method, user_id, month {% for name in names %}, p_{{ name }} {% endfor %}
        from {{ ref("stage_beliefs") }}
        where is_primary
        {% for method in ["memory_less", "prior"] %}
            union all
            select
                '{{ method }}' as method,
                beliefs.user_id,
                beliefs.month
                {% for stage in stages() %}
                    ,
                    {% if method == "prior" %} {{ stage_mass("bin_priors.bin_", stage) }}
                    {% else %}
                        coalesce({{ stage_mass("scores.bin_", stage) }}, {{ stage_mass("bin_priors.bin_", stage) }})
                    {% endif %} as p_{{ stage.name }}
                {% endfor %}
            from {{ ref("birth_month_filter") }} as beliefs
            inner join bin_priors on beliefs.model_version = bin_priors.model_version
            {% if method == "memory_less" %}
                left join
                    {{ ref("stage_scores") }} as scores
                    on beliefs.user_id = scores.user_id
                    and beliefs.month = scores.month
            {% endif %}
        {% endfor %}
    ),
    said as (
        select
            method,
            user_id,
            month
            {% for name in names %}, p_{{ name }} / ({{ sum_of("p_", names) }}) as p_{{ name }} {% endfor %}
        from masses
    )
select
    said.method,
    said.user_id,
    said.month,
    truths.true_stage,
    {{ first_greatest("said.p_", names) }} as predicted_stage,
    case
        truths.true_stage {% for name in names %} when '{{ name }}' then said.p_{{ name }} {% endfor %}
    end as true_stage_probability
from said
inner join truths on said.user_id = truths.user_id and said.month = truths.month
where truths.true_stage is not null
