-- Age bins of the regression, one row per bin, in age order.
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
