-- Queries of bench/ablation.py: another design matrix, and training rows with fewer users.
-- name: event counts
-- ln(1 + events) instead of ln(1 + days), for the features of the month itself.
with
    observed as (select distinct user_id, month, acted_on, action, item_id, search_term from stg_actions),
    carried as (
        select user_id, month, feature
        from observed
        join item_features using (item_id)
        union all
        select user_id, month, concat(feature, ':', action)
        from observed
        join item_features using (item_id)
        where action <> 'click'
        union all
        select user_id, month, feature
        from observed
        join search_term_features using (search_term)
    )
select row_no, feature_id, ln(1 + count(*)) as value
from carried
join training_rows using (user_id, month)
join training_vocabulary using (feature)
group by row_no, feature_id
;
-- name: few labels
-- The first n_users training users and 0.3 times as many validation users.
with
    ranks as (
        select user_no, row_number() over (partition by split order by user_no) as user_rank
        from (select distinct user_no, split from training_rows)
    )
select
    training_rows.* replace (
        case
            when split = 'train' and user_rank > {{ n_users }}
            then 'unused'
            when split = 'validation' and user_rank > round(0.3 * {{ n_users }})
            then 'unused'
            else split
        end as split
    )
from training_rows
join ranks using (user_no)
;
