-- The active months of training users with exactly one registered child, each with the age bin the child was in.
-- Users with several children are left out: their rows contradict each other.
{{ config(materialized="view") }}
select
    labels.user_id,
    labels.month,
    case
        {% for bin in age_bins() %}
            when labels.age_months >= {{ bin.from_month }} and labels.age_months < {{ bin.to_month }}
            then '{{ bin.name }}'
        {% endfor %}
    end as age_bin
from {{ ref("stage_labels") }} as labels
inner join
    {{ ref("user_months") }} as user_months on labels.user_id = user_months.user_id and labels.month = user_months.month
where
    labels.split = 'train'
    and labels.n_children = 1
    and labels.age_months >= {{ age_bins()[0].from_month }}
    and labels.age_months < {{ age_bins()[-1].to_month }}
