-- Children for a CRM, one row per child of user_stages: a key in one column, the stage, the next one, and a hash that
-- changes only when a campaign would notice.
with
    -- The next stage is probable from the first month in which the child has more likely entered it than not.
    entries as (
        select
            outlook.user_id,
            outlook.child_no,
            outlook.stage as next_stage,
            outlook.stage_month as next_stage_month,
            row_number() over (
                partition by outlook.user_id, outlook.child_no order by outlook.horizon, outlook.stage_no
            ) as rank
        from {{ ref("stage_outlook") }} as outlook
        inner join
            {{ ref("user_stages") }} as children
            on outlook.user_id = children.user_id
            and outlook.child_no = children.child_no
        where outlook.p_entering >= 0.5 and outlook.stage_no > children.stage_no
    ),
    described as (
        select
            concat(children.user_id, '-', children.child_no) as child_key,
            children.user_id,
            children.child_no,
            children.month,
            children.stage_no,
            children.stage,
            children.since_month,
            children.probability,
            children.confidence,
            children.source,
            children.is_stale,
            entries.next_stage,
            entries.next_stage_month,
            reasons.reason
        from {{ ref("user_stages") }} as children
        left join
            entries on children.user_id = entries.user_id and children.child_no = entries.child_no and entries.rank = 1
        left join
            {{ ref("stage_reasons") }} as reasons
            on children.user_id = reasons.user_id
            and children.child_no = reasons.child_no
            and reasons.rank = 1
    )
select
    *,
    md5(
        concat(
            stage,
            '|',
            cast(since_month as string),
            '|',
            confidence,
            '|',
            source,
            '|',
            cast(is_stale as string),
            '|',
            coalesce(next_stage, ''),
            '|',
            coalesce(cast(next_stage_month as string), '')
        )
    ) as row_hash
from described
