-- Labels from age words, one row per user without a registration and closed month. A user who often names one age in
-- titles and search terms likely has a child of that age. Empty unless var training_labels is age_words.
{{ config(materialized="view") }}
{% set least_mentions, most_spread, widest = 3, 9, 12 %}  {# pairs of month and feature; months; months #}
with
    ages as (
        select distinct age_word, from_month, to_month
        from {{ ref("text_ages") }}
        where to_month - from_month <= {{ widest }}
    ),
    mentions as (
        select
            features.user_id,
            features.month,
            -- Months from the child's birth to 2000-01.
            {{ months_between("date '2000-01-01'", "features.month") }}
            + cast(ages.from_month + ages.to_month as double) / 2 as months_before_2000
        from {{ ref("user_month_features") }} as features
        inner join
            ages
            on features.feature = concat('title_age=', ages.age_word)
            or features.feature = concat('search_age=', ages.age_word)
        where
            '{{ setting("training_labels") }}' = 'age_words'
            and features.user_id not in (select user_id from {{ ref("stg_children") }})
    ),
    births as (
        select user_id, avg(mentions.months_before_2000) as months_before_2000, max(month) as last_mentioned
        from mentions
        group by user_id
        having count(*) >= {{ least_mentions }} and stddev_samp(mentions.months_before_2000) <= {{ most_spread }}
    )
select
    births.user_id,
    calendar.month,
    cast(
        round({{ months_between("calendar.month", "date '2000-01-01'") }} + births.months_before_2000) as bigint
    ) as age_months,
    case
        when {{ hash_share("births.user_id") }} < {{ setting("training_share") }} then 'train' else 'validation'
    end as split,
    cast(births.last_mentioned as timestamp) as registered_at
from births
cross join {{ ref("month_calendar") }} as calendar
where calendar.is_closed
