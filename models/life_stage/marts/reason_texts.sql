-- Text of each feature for explanations, one row per feature of the vocabulary.
with
    features as (select distinct feature from {{ ref("model_weights") }} where feature <> ''),
    endings as (
        select
            feature,
            instr(feature, '=') as equals_sign,
            case
                when feature like '%:purchase'
                then ', bought'
                when feature like '%:cart'
                then ', put into the cart'
                when feature like '%:collect'
                then ', collected'
                else ''
            end as action,
            case
                when feature like '%:purchase'
                then 9
                when feature like '%:cart'
                then 5
                when feature like '%:collect'
                then 8
                else 0
            end as n_signs
        from features
    ),
    parts as (
        select
            feature,
            action,
            substr(feature, 1, greatest(equals_sign - 1, 0)) as family,
            substr(feature, equals_sign + 1, length(feature) - equals_sign - n_signs) as detail
        from endings
    )
select
    parts.feature,
    case
        when words.words is null
        then parts.feature
        else concat(replace(words.words, '...', replace(parts.detail, '|', ' ')), parts.action)
    end as reason
from parts
left join {{ ref("reason_words") }} as words on parts.family = words.family
