-- Log-likelihood that some child of each age is there, one row per user and active month. The actions of a leaf
-- category or of all searches (a session-category group) may be for another child or a gift, so a group costs any age
-- at most ln 0.8. Unlike stage_log_likelihoods it therefore holds for several children.
{{ config(materialized="view") }}
{% set bins = age_bins() | map(attribute="name") | list %}
with
    shares as (
        select
            model_version,
            {% for bin in bins %}
                max(case when age_bin = '{{ bin }}' then value end) as share_{{ bin }}
                {%- if not loop.last %},{% endif %}
            {% endfor %}
        from {{ ref("stage_coefficients") }}
        where model_name = 'log_likelihood' and parameter_type = 'prior'
        group by model_version
    ),
    -- The intercept, the log-likelihood of being active, is divided among the groups.
    sharpened as (
        select
            evidence.user_id,
            evidence.month,
            evidence.model_version,
            {% for bin in bins %}
                shares.share_{{ bin }},
                2 * (
                    evidence.ll_{{ bin }}
                    + intercept.w_{{ bin }} / count(*) over (partition by evidence.user_id, evidence.month)
                ) as s_{{ bin }}
                {%- if not loop.last %},{% endif %}
            {% endfor %}
        from {{ ref("group_log_likelihoods") }} as evidence
        inner join shares on evidence.model_version = shares.model_version
        inner join
            (select * from {{ ref("model_weights") }} where feature = '') as intercept
            on evidence.model_version = intercept.model_version
    ),
    peaks as (
        select *, greatest({% for bin in bins %}s_{{ bin }} {%- if not loop.last %}, {% endif %} {% endfor %}) as peak
        from sharpened
    ),
    likelihoods as (
        select
            user_id,
            month,
            model_version,
            {% for bin in bins %} share_{{ bin }}, exp(s_{{ bin }} - peak) as r_{{ bin }}, {% endfor %}
            {% for bin in bins %}
                share_{{ bin }} * exp(s_{{ bin }} - peak) {%- if not loop.last %} + {% endif %}
            {% endfor %} as average
        from peaks
    )
select
    user_id,
    month,
    model_version,
    {% for bin in bins %}
        sum({{ exact("ln(0.8 + 0.2 * r_" ~ bin ~ " / average)") }}) as ll_{{ bin }} {%- if not loop.last %},{% endif %}
    {% endfor %}
from likelihoods
group by user_id, month, model_version
