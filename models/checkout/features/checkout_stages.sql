-- In which stages a shopper's children were told to be at the end of each month, as shares of the shopper's interest.
{% set names = stage_names() %}
with
    families as (
        select
            told.user_id,
            told.month,
            max(case when told.is_in_stage then 1 else 0 end) = 1 as is_in_stage
            {% for name in names %}
                ,
                sum(
                    {{
                        exact(
                            "told.p_"
                            ~ name
                            ~ " * (1 - told.not_yet_expecting_probability - told.graduated_probability)"
                        )
                    }}
                )
                / count(*) as p_{{ name }}
            {% endfor %}
        from {{ ref("user_stage_months") }} as told
        where told.month < (select max(month) from {{ ref("checkout_months") }})
        group by told.user_id, told.month
    )
select *, case when is_in_stage then {{ first_greatest("p_", names) }} else 'none' end as stage
from families
