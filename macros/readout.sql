{# Posterior readout: the terms of its weights, and the context of the activity model (python/life_stage/readout/readout.py). #}
{% macro readout_terms() %}
    {# {term: SQL} of the terms of readout_weights, from columns of birth_month_filter. #}
    {% set terms = {"constant": "1.0", "log_active_months": "ln(greatest(months_of_evidence, 1))"} %}
    {% for name in readout_term_columns() %} {% do terms.update({name: name}) %} {% endfor %}
    {% set inactive = months_between("month", "last_active_month") %}
    {% do terms.update({"log_inactive_months": "ln(1.0 + " ~ inactive ~ ")"}) %}
    {% do return(terms) %}
{% endmacro %}

{% macro readout_term_columns() %}
    {# {term: SQL} of the terms that birth_month_filter stores, from the carried sums. peak_of_c: largest c_. #}
    {% do return(
        {
            "agreement": "ln(greatest(peak_of_c / greatest(c_peaks, 0.3), 0.02))",
            "sharpness": "ln(greatest(c_peaks, 0.1) / greatest(months_of_evidence, 1) + 0.05)",
            "volume": "ln(c_days / greatest(months_of_evidence, 1) + 0.1)",
            "unspecific_share": "c_unspecific_days / (c_days + 1)",
            "purchase_share": "c_purchase_days / (c_days + 1)",
            "recent_share": "cast(bit_count(c_recent_months) as double) / 6",
        }
    ) %}
{% endmacro %}

{% macro linear_in_terms(name) -%}
    {#- SQL: the sum of the terms with the weights <name>_<term> of readout_weights. -#}
    {%- for term, sql in readout_terms().items() -%}
        readout.{{ name }}_{{ term }} * {{ sql }} {%- if not loop.last %} + {% endif -%}
    {%- endfor -%}
{%- endmacro %}

{% macro readout_parameters() -%}
    {#- SQL: columns tau, delta and bias_<bin> of a user and month, for a join of readout_weights as `readout`. -#}
    exp({{ linear_in_terms("log_tau") }}) as tau,
    greatest(1 / (1 + exp(- ({{ linear_in_terms("logit_delta") }}))), 0.003) as delta,
    {%- for bin in bins_in_stages() %}
        {{ linear_in_terms("bias_" ~ bin.name) }} as bias_{{ bin.name }} {%- if not loop.last %},{% endif %}
    {%- endfor %}
{%- endmacro %}

{% macro bins_in_stages() %}
    {# The age bins within the stages; the others have no bias. #}
    {% set found, first, last = [], stages()[0], stages()[-1] %}
    {% for bin in age_bins() if first.from_month <= bin.from_month and bin.to_month <= last.to_month %}
        {% do found.append(bin) %}
    {% endfor %}
    {% do return(found) %}
{% endmacro %}

{% macro biases() %}
    {# {grid point: SQL} of the bias of each grid point within the stages, as a term of a sum. #}
    {% set found = {} %}
    {% for bin in bins_in_stages() %}
        {% for cell in cells_within(bin.from_month, bin.to_month) %}
            {% do found.update({cell: " + bias_" ~ bin.name}) %}
        {% endfor %}
    {% endfor %}
    {% do return(found) %}
{% endmacro %}

{% macro interval_bands() %}
    {# Lower limits of the bands of active months in which the interval is calibrated, as in calibration.py. #}
    {% do return([1, 2, 4, 9]) %}
{% endmacro %}

{% macro interval_level() -%}
    {#- SQL: half-width in probability of the interval of the birth month, by predicted stage and active months. -#}
    case
        {{ first_greatest("s_", stage_names()) }}
        {%- for stage in stage_names() %}
            when '{{ stage }}'
            then
                case
                    {%- for limit in interval_bands()[1:] %}
                        when months_of_evidence < {{ limit }} then level_{{ stage }}_{{ loop.index0 }}
                    {%- endfor %}
                    else level_{{ stage }}_{{ interval_bands() | length - 1 }}
                end
        {%- endfor %}
    end
{%- endmacro %}

{% macro activity_code(is_active) -%}
    {#- SQL: key of activity_log_likelihoods: twice the context of the user's past, plus 1 in an active month. For a
        carried state as `carried`; the first month has none. -#}
    {%- set gap = months_between(this_month(), "carried.last_active_month") ~ " - 1" -%}
    {%- set before = months_between(this_month(), "carried.first_month") -%}
    {%- set rate = "cast(carried.months_of_evidence + 1 as double) / (" ~ before ~ " + 2)" -%}
    case
        when carried.user_id is not null
        then
            2 * (4 * {{ class_of(gap, [1, 2, 4, 7]) }} + {{ class_of(rate, [0.3, 0.55, 0.8]) }})
            + case when {{ is_active }} then 1 else 0 end
    end
{%- endmacro %}

{% macro class_of(value, limits) -%}
    {#- SQL: the number of ascending limits that the value reaches. -#}
    case
        {%- for limit in limits %} when {{ value }} < {{ limit }} then {{ loop.index0 }} {%- endfor %}
        else {{ limits | length }}
    end
{%- endmacro %}

{% macro in_thousandths(log_likelihood) -%}
    {#- SQL: a log-likelihood in 1/1000 nat. Sums of integers are exact, and small in storage. -#}
    cast(floor(1000 * ({{ log_likelihood }}) + 0.5) as integer)
{%- endmacro %}
