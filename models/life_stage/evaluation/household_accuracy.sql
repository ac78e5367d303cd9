-- Accuracy of the published rows on registered test households, one row per group and value: of all rows, by stage, by
-- confidence, and of first and further children.
{% set groups = {
    "all": "'all'",
    "stage": "stage",
    "confidence": "case when is_published then confidence end",
    "child": "case when is_published then case when is_primary then 'first' else 'further' end end",
} %}
with
    members as (
        {% for name, sql in groups.items() %}
            select '{{ name }}' as group_name, {{ sql }} as group_value, scores.*
            from {{ ref("household_scores") }} as scores
            where {{ sql }} is not null
            {% if not loop.last %}
                union all
            {% endif %}
        {% endfor %}
    ),
    users as (
        select
            group_name,
            group_value,
            user_id,
            sum(cast(is_published as integer)) as n_rows,
            sum(case when is_published and has_child then 1 else 0 end) as n_right,
            sum(cast(has_child as integer)) as n_children,
            count(distinct month) as n_months,
            sum(log_loss) as log_loss
        from members
        group by group_name, group_value, user_id
    ),
    sums as (
        select
            group_name,
            group_value,
            count(*) as n_users,
            cast(sum(n_rows) as bigint) as n_rows,
            cast(sum(n_right) as bigint) as n_right,
            cast(sum(n_children) as bigint) as n_children,
            cast(sum(n_months) as bigint) as n_months,
            cast(sum(n_right) as double) / nullif(sum(n_rows), 0) as right_share,
            cast(sum(n_right) as double) / nullif(sum(n_children), 0) as recall,
            {{ effective_sample_size("n_rows") }} as n_rows_effective,
            {{ effective_sample_size("n_children") }} as n_children_effective,
            sum(log_loss) as log_loss
        from users
        group by group_name, group_value
    ),
    errors as (
        select
            sums.group_name,
            sums.group_value,
            {{
                error_of_mean(
                    "(users.n_right - sums.n_right * users.n_rows / cast(sums.n_rows as double)) / sums.n_rows"
                )
            }} as right_share_error,
            {{
                error_of_mean(
                    "(users.n_right - sums.n_right * users.n_children / cast(sums.n_children as double)) / sums.n_children"
                )
            }}
            as recall_error
        from users
        inner join sums on users.group_name = sums.group_name and users.group_value = sums.group_value
        where sums.n_rows > 0 and sums.n_children > 0
        group by sums.group_name, sums.group_value
    ),
    calibration as (
        select
            group_name,
            group_value,
            sum(probability) / sum(n_rows) as mean_probability,
            sum(abs(n_right - probability)) / sum(n_rows) as calibration_error
        from
            (
                select
                    group_name,
                    group_value,
                    count(*) as n_rows,
                    sum(cast(has_child as integer)) as n_right,
                    sum({{ exact("probability") }}) as probability
                from members
                where is_published
                group by group_name, group_value, {{ probability_bin("probability") }}
            ) as bins
        group by group_name, group_value
    )
select
    sums.group_name,
    sums.group_value,
    sums.n_users,
    sums.n_rows,
    sums.right_share,
    errors.right_share_error,
    {{ wilson_limits("sums.right_share", "sums.n_rows_effective", "right_share") }},
    calibration.mean_probability,
    calibration.calibration_error,
    {% set has_recall = "sums.group_name in ('all', 'stage')" %}
    case when {{ has_recall }} then sums.n_children end as n_children,
    case when {{ has_recall }} then sums.recall end as recall,
    case when {{ has_recall }} then errors.recall_error end as recall_error,
    {% for side in ["lowest", "highest"] %}
        case
            when {{ has_recall }} then {{ wilson_limit("sums.recall", "sums.n_children_effective", side) }}
        end as {{ side }}_recall,
    {% endfor %}
    case when {{ has_recall }} then sums.log_loss / sums.n_months end as log_loss,
    {{ is_suppressed_count("sums.n_users", "sums.group_name", "sums.group_value") }} as is_suppressed
from sums
left join errors on sums.group_name = errors.group_name and sums.group_value = errors.group_value
left join calibration on sums.group_name = calibration.group_name and sums.group_value = calibration.group_value
