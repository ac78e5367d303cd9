-- Age bins of the regression in age order, one row per bin.
{% do after_checks() %}
{% for bin in age_bins() %}
    select
        {{ loop.index }} as bin_no,
        '{{ bin.name }}' as age_bin,
        {{ bin.from_month }} as from_month,
        {{ bin.to_month }} as to_month
    {% if not loop.last %}
        union all
    {% endif %}
{% endfor %}
