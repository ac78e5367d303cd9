{# SQL expressions that DuckDB and Spark spell differently, one macro per difference. #}
{% macro months_after(month, n) -%}
    {#- SQL: the month n months after the given one. -#}
    {%- if target.type == "spark" -%} add_months({{ month }}, {{ n }})
    {%- else -%} cast({{ month }} + to_months({{ n }}) as date)
    {%- endif -%}
{%- endmacro %}

{% macro days_between(later, earlier) -%}
    {#- SQL: the number of days between two dates. -#}
    {% if target.type == "spark" %} datediff({{ later }}, {{ earlier }})
    {% else %}({{ later }} - {{ earlier }})
    {% endif %}
{%- endmacro %}

{% macro utc_timestamp(value) -%}
    {#- SQL: a text or a time as UTC. A plain cast to timestamp would silently drop the offset of a text. -#}
    {%- if target.type == "spark" -%} cast(try_cast({{ value }} as timestamp_ltz) as timestamp)
    {%- else -%}
        {#- Most files hold timestamps, and the detour through a time zone costs as much as all other casts of a row. -#}
        case
            when typeof({{ value }}) = 'TIMESTAMP'
            then try_cast({{ value }} as timestamp)
            else timezone('UTC', try_cast({{ value }} as timestamptz))
        end
    {%- endif -%}
{%- endmacro %}

{% macro business_time(utc) -%}
    {#- SQL: a UTC time in the business time zone. -#}
    {%- set zone = business_timezone() -%}
    {%- if zone == "UTC" -%} {{ utc }}
    {%- elif target.type == "spark" -%} convert_timezone('UTC', '{{ zone }}', {{ utc }})
    {%- else -%} timezone('{{ zone }}', timezone('UTC', {{ utc }}))
    {%- endif -%}
{%- endmacro %}

{% macro every_month(first_month, last_month, relation) -%}
    {#- SQL: one row per month of the interval. -#}
    {%- if target.type == "spark" -%}
        select explode(sequence({{ first_month }}, {{ last_month }}, interval 1 month)) as month
        from {{ relation }}
        where {{ first_month }} is not null
    {%- else -%}
        select cast(month as date) as month
        from
            (
                select unnest(generate_series({{ first_month }}, {{ last_month }}, interval 1 month)) as month
                from {{ relation }}
            ) as series
    {%- endif -%}
{%- endmacro %}

{% macro every_day(first_month, last_month, relation) -%}
    {#- SQL: one row per day of the interval. -#}
    {%- set series = "generate_series" if target.type == "duckdb" else "sequence" -%}
    select {{ row_per_element(series ~ "(" ~ first_month ~ ", last_day(" ~ last_month ~ "), interval 1 day)") }} as day
    from {{ relation }}
{%- endmacro %}

{% macro every_integer(first, last) -%}
    {#- SQL: one row per integer of the interval. -#}
    {%- set series = "generate_series" if target.type == "duckdb" else "sequence" -%}
    select cast(n as integer) as n
    from (select {{ row_per_element(series ~ "(" ~ first ~ ", " ~ last ~ ")") }} as n) as series
{%- endmacro %}

{% macro order_free_hash(columns, condition="true") -%}
    {#- SQL: a hash of rows. It is a sum, so the order of rows does not matter; null without rows. -#}
    {%- if target.type == "spark" -%}
        {#- xxhash64 skips nulls, so their positions are hashed too. -#}
        {%- set parts = "xxhash64(" ~ columns | join(", ") ~ ", isnull(" ~ columns | join("), isnull(") ~ "))" -%}
        cast(sum(case when {{ condition }} then cast({{ parts }} as decimal(20, 0)) end) as string)
    {%- else -%}
        cast(sum(case when {{ condition }} then cast(hash({{ columns | join(", ") }}) as hugeint) end) as varchar)
    {%- endif -%}
{%- endmacro %}

{% macro pseudonym(id) -%}
    {#- SQL: the first 128 bits of the HMAC-SHA256 of the id (RFC 2104), in hex; the connection holds the padded keys.
        -#}
    left(sha256({{ id_key("outer") }} || unhex(sha256({{ id_key("inner") }} || encode({{ id }})))), 32)
{%- endmacro %}

{% macro has_id_key() %}
    {# True if the run has a key for pseudonyms. #}
    {% if not execute or target.type == "spark" %} {% do return(false) %} {% endif %}
    {% do return(run_query("select " ~ id_key("outer") ~ " is not null as is_set").rows[0]["is_set"]) %}
{% endmacro %}

{% macro id_key(pad) -%}
    {#- SQL: the key mixed with a pad, a variable of the connection. -#}
    getvariable('id_key_{{ pad }}')
{%- endmacro %}

{% macro sum_of_hashes(text) -%}
    {#- SQL: the sum of hashes given as text, as text. -#}
    {%- if target.type == "spark" -%} cast(sum(cast({{ text }} as decimal(30, 0))) as string)
    {%- else -%} cast(sum(cast({{ text }} as hugeint)) as varchar)
    {%- endif -%}
{%- endmacro %}

{% macro digest_of(text) -%}
    {#- SQL: the SHA-256 digest of a text, in hex. -#}
    {%- if target.type == "spark" -%} sha2({{ text }}, 256) {%- else -%} sha256({{ text }}) {%- endif -%}
{%- endmacro %}

{% macro id_of_text(text) -%}
    {#- SQL: an integer of 64 bits for a text, the same in all tables; two of a million texts share one at odds of 1 to
        40 million. -#}
    {% if target.type == "spark" %} xxhash64({{ text }}) {% else %} hash({{ text }}) {% endif %}
{%- endmacro %}

{% macro hash_share(text) -%}
    {#- SQL: a number in [0, 1) that depends on the text alone, the same on both engines. -#}
    {%- set digits = "left(md5(" ~ text ~ "), 8)" -%}
    {%- if target.type == "spark" -%}(cast(conv({{ digits }}, 16, 10) as double) / 4294967296.0)
    {%- else -%}(cast('0x' || {{ digits }} as bigint) / 4294967296.0)
    {%- endif -%}
{%- endmacro %}

{% macro order_statistic(column, share) -%}
    {#- SQL: the quantile of a column, as an aggregate. -#}
    percentile_cont({{ share }}) within group (order by {{ column }})
{%- endmacro %}

{% macro row_per_element(list) -%}
    {#- SQL: one row per element of a list. -#}
    {% if target.type == "spark" %} explode({{ list }}) {% else %} unnest({{ list }}) {% endif %}
{%- endmacro %}

{% macro json_entries(text, name) -%}
    {#- SQL: one row per key of a JSON object given as text: <name>_key, <name>_value; none if it is no object. -#}
    {%- if target.type == "spark" -%}
        explode(from_json({{ text }}, 'map<string,string>')) as ({{ name }}_key, {{ name }}_value)
    {%- else -%}
        {%- set entries = "try_cast(try_cast(" ~ text ~ " as json) as map(varchar, varchar))" -%}
        unnest(map_keys({{ entries }})) as {{ name }}_key,
        unnest(map_values({{ entries }})) as {{ name }}_value
    {%- endif -%}
{%- endmacro %}

{% macro fail_query(message) -%}
    {#- SQL that fails with the message, an SQL expression that can quote values. -#}
    {%- set raise = "raise_error" if target.type == "spark" else "error" -%} {{ raise }} ({{ message }})
{%- endmacro %}
