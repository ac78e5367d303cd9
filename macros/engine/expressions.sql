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

{% macro is_typed_moment(value) -%}
    {#- SQL: true if the column's type is a time or a date, known before any row is read. -#}
    lower(typeof({{ value }})) like 'timestamp%' or lower(typeof({{ value }})) = 'date'
{%- endmacro %}

{% macro is_typed_instant(value) -%}
    {#- SQL: true if the column's type is a time with an offset. -#}
    typeof({{ value }}) {{ "= 'timestamp'" if target.type == "spark" else "like '%TIME ZONE'" }}
{%- endmacro %}

{% macro utc_of_typed(value) -%}
    {#- SQL: the UTC of a time or a date, and null of any other type. -#}
    {%- if target.type == "spark" -%} cast(try_cast({{ value }} as timestamp_ltz) as timestamp)
    {%- else -%}
        case
            when {{ is_typed_instant(value) }}
            then timezone('UTC', try_cast({{ value }} as timestamptz))
            else try_cast({{ value }} as timestamp)
        end
    {%- endif -%}
{%- endmacro %}

{% macro utc_of_local(text) -%}
    {#- SQL: an ISO text without an offset, or with Z, as a timestamp. DuckDB reads offsets five times slower. -#}
    {%- if target.type == "spark" -%} {{ utc_of_zoned(text) }}
    {%- else -%} try_cast({{ text }} as timestamp)
    {%- endif -%}
{%- endmacro %}

{% macro utc_of_zoned(text) -%}
    {#- SQL: the UTC of an ISO text, which may end with an offset or the name of a time zone. -#}
    {%- if target.type == "spark" -%} cast(try_cast({{ text }} as timestamp_ltz) as timestamp)
    {%- else -%} timezone('UTC', try_cast({{ text }} as timestamptz))
    {%- endif -%}
{%- endmacro %}

{% macro utc_of_microseconds(digits) -%}
    {#- SQL: the UTC of a number of microseconds since 1970, given as text. -#}
    {%- if target.type == "spark" -%} cast(timestamp_micros(try_cast({{ digits }} as bigint)) as timestamp)
    {%- else -%} make_timestamp(try_cast({{ digits }} as bigint))
    {%- endif -%}
{%- endmacro %}

{% macro matches(text, pattern) -%}
    {#- SQL: true if the pattern matches the whole text, in any case. -#}
    {%- if target.type == "spark" -%} {{ text }} rlike r'(?i)^(?:{{ pattern }})$'
    {%- else -%} regexp_full_match({{ text }}, '(?i){{ pattern }}')
    {%- endif -%}
{%- endmacro %}

{% macro replaced(text, pattern, replacement) -%}
    {#- SQL: the text with all matches of the pattern, in any case, replaced; $1 is the first group. -#}
    {%- if target.type == "spark" -%} regexp_replace({{ text }}, r'(?i){{ pattern }}', '{{ replacement }}')
    {%- else -%} regexp_replace({{ text }}, '(?i){{ pattern }}', '{{ replacement | replace("$", "\\") }}', 'g')
    {%- endif -%}
{%- endmacro %}

{% macro business_time(utc, zone=none) -%}
    {#- SQL: a UTC time in the business time zone, or in the zone that an expression names. -#}
    {%- set zone = zone or "'" ~ business_timezone() ~ "'" -%}
    {%- if business_timezone() == "UTC" -%} {{ utc }}
    {%- elif target.type == "spark" -%} convert_timezone('UTC', {{ zone }}, {{ utc }})
    {%- else -%} timezone({{ zone }}, timezone('UTC', {{ utc }}))
    {%- endif -%}
{%- endmacro %}

{% macro every_month(first_month, last_month, relation) -%}
    {#- SQL: one row per month of the interval. -#}
    {%- if target.type == "spark" -%}
        select explode(sequence(first_of_all, last_of_all, interval 1 month)) as month
        from (select {{ first_month }} as first_of_all, {{ last_month }} as last_of_all from {{ relation }}) as ends
        where first_of_all is not null
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
    select {{ row_per_element(series ~ "(first_of_all, last_day(last_of_all), interval 1 day)") }} as day
    from (select {{ first_month }} as first_of_all, {{ last_month }} as last_of_all from {{ relation }}) as ends
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
    substring(sha256({{ id_key("outer") }} || unhex(sha256({{ id_key("inner") }} || encode({{ id }})))), 1, 32)
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
    {%- set digits = "substring(md5(" ~ text ~ "), 1, 8)" -%}
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

{% macro json_map(text) -%}
    {#- SQL: the keys and values of a JSON object, given as text; null if it is none. -#}
    {%- if target.type == "spark" -%} from_json({{ text }}, 'map<string,string>')
    {%- else -%} try_cast(try_cast({{ text }} as json) as map(varchar, varchar))
    {%- endif -%}
{%- endmacro %}

{% macro collected(columns) -%}
    {#- SQL: the rows of a group as a list of structs of these columns, as an aggregate. -#}
    {%- if target.type == "spark" -%} collect_list(struct({{ columns | join(", ") }}))
    {%- else -%}
        {%- set fields = [] -%}
        {%- for name in columns -%} {%- do fields.append(name ~ " := " ~ name) -%}
        {%- endfor -%}
        list(struct_pack({{ fields | join(", ") }}))
    {%- endif -%}
{%- endmacro %}

{% macro json_entries(text, name) -%}
    {#- SQL: one row per key of a JSON object given as text: <name>_key, <name>_value; none if it is no object. -#}
    {%- if target.type == "spark" -%} explode({{ json_map(text) }}) as ({{ name }}_key, {{ name }}_value)
    {%- else -%}
        unnest(map_keys({{ json_map(text) }})) as {{ name }}_key,
        unnest(map_values({{ json_map(text) }})) as {{ name }}_value
    {%- endif -%}
{%- endmacro %}

{% macro json_of_pairs(text) -%}
    {#- SQL: a text key:value;key:value as a JSON object; the last value of a key counts. -#}
    {%- if target.type == "spark" -%}
        to_json(
            aggregate(
                split(trim(trailing ';|' from {{ text }}), '[;|]'),
                cast(map() as map<string, string>),
                (pairs, pair) -> map_concat(
                    map_filter(pairs, (key, value) -> key <> trim(regexp_extract(pair, '^[^:=]*', 0))),
                    map(trim(regexp_extract(pair, '^[^:=]*', 0)), trim(regexp_extract(pair, '[:=](.*)', 1)))
                )
            )
        )
    {%- else -%}
        cast(
            to_json(
                list_reduce(
                    list_transform(
                        string_split_regex(rtrim({{ text }}, ';|'), '[;|]'),
                        lambda pair:map(
                            [trim(regexp_extract(pair, '^[^:=]*'))], [trim(regexp_extract(pair, '[:=](.*)', 1))]
                        )
                    ),
                    lambda pairs,
                    pair:map_concat(pairs, pair)
                )
            ) as varchar
        )
    {%- endif -%}
{%- endmacro %}

{% macro fail_query(message) -%}
    {#- SQL that fails with the message, an SQL expression that can quote values. -#}
    {%- set raise = "raise_error" if target.type == "spark" else "error" -%} {{ raise }} ({{ message }})
{%- endmacro %}
