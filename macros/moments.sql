{# The one reader of moments: texts, numbers and typed columns as UTC. The forms are listed in docs/data_contract.md. #}
{% macro moment(value) -%}
    {#- SQL: the moment in UTC, and UTC if it has no offset; null if it is unreadable. -#}
    {%- set text, clean, forms = "cast(" ~ value ~ " as string)", cleaned(value), moment_forms() -%}
    case
        when {{ is_typed_moment(value) }}
        then {{ utc_of_typed(value) }}
        {#- Most texts have this form, which takes a tenth of the time of the others. #}
        when {{ matches(text, forms.iso) }}
        then {{ utc_of_local(text) }}
        when {{ matches(text, forms.iso_with_offset) }}
        then {{ utc_of_zoned(text) }}
        when {{ matches(clean, forms.epoch) }}
        then {{ utc_of_microseconds("substring(rpad(replace(" ~ clean ~ ", '.', ''), 16, '0'), 1, 16)") }}
        when {{ matches(clean, forms.any) }}
        then
            {{ utc_of_zoned(in_iso(clean)) }}
            + case when {{ matches(clean, ".*[0-9] ?p[.]?m\\b.*") }} then interval '12' hour else interval '0' hour end
    end
{%- endmacro %}

{% macro day(value) -%}
    {#- SQL: the date of a moment. One with an offset is taken in the business time zone, any other keeps its day. -#}
    {%- set zone = "case when " ~ is_instant(value) ~ " then '" ~ business_timezone() ~ "' else 'UTC' end" -%}
    cast({{ business_time(moment(value), zone) }} as date)
{%- endmacro %}

{% macro is_instant(value) -%}
    {#- SQL: true if a moment has an offset; a number since 1970 has one. -#}
    {%- set forms = moment_forms() -%}
    {{ is_typed_instant(value) }} or {{ matches(cleaned(value), forms.epoch ~ "|" ~ forms.with_offset) }}
{%- endmacro %}

{% macro is_date_only(value) -%}
    {#- SQL: true if a moment has no time of day. -#}
    coalesce({{ matches(cleaned(value), moment_forms().date) }}, false)
{%- endmacro %}

{% macro cleaned(value) -%}
    {#- SQL: a value as text with single blanks inside and none around it. -#}
    {%- set text = "cast(" ~ value ~ " as string)" -%}
    case
        when {{ matches(text, "[!-~]+(?: [!-~]+)*") }}
        then {{ text }}
        else trim({{ replaced(text, "[\\s\\p{Z}\\x{FEFF}]+", " ") }})
    end
{%- endmacro %}

{% macro moment_forms() %}
    {# Patterns of whole texts, in any case: `iso` and `iso_with_offset`, which engines cast fast; `epoch`, seconds,
       milli-, micro- or nanoseconds from 2001-09-09 on; `any` other form; `with_offset`, those with an offset; `date`,
       those without a time. #}
    {% set year, month, day, minute = "[0-9]{4}", "[01]?[0-9]", "[0-3]?[0-9]", "[0-5][0-9]" %}
    {% set names = [] %}
    {% for name in month_names() %} {% do names.append(name[:3] ~ "(?:" ~ name[3:] ~ ")?") %} {% endfor %}
    {% set month_name = "(?:" ~ names | join("|") ~ "|sept)[.]?" %}
    {% set weekday = "(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,? )?" %}
    {% set dates = [
        year ~ "(?:-M-D|/M/D|[.]M[.]D|年M月D日?)" | replace("M", month) | replace("D", day),
        "[0-9]{8}",
        weekday ~ day ~ "(?: NAME,? |-NAME-|/NAME/)" | replace("NAME", month_name) ~ year,
        weekday ~ month_name ~ " " ~ day ~ ",? " ~ year,
        day ~ "-" ~ month_name ~ "-[0-9]{2}",
    ] %}
    {% set order = {"dmy": [day, month, year], "mdy": [month, day, year]}.get(setting("source_date_order")) %}
    {% for separator in "-/." if order %} {% do dates.append(order | join("[" ~ separator ~ "]")) %} {% endfor %}
    {% set date = "(?:" ~ dates | join("|") ~ ")" %}
    {% set hour, full_hour, half_day = "(?:[01]?[0-9]|2[0-3])", "(?:[01][0-9]|2[0-3])", "(?:0?[1-9]|1[0-2])" %}
    {% set seconds = minute ~ "(?:[.,][0-9]+)?" %}
    {% set comment = "(?: ?[(\\[][^()\\[\\]]*[)\\]])?" %}
    {% set hours = "(?:0?[0-9]|1[0-4])(?::" ~ minute ~ ")?|(?:0[0-9]|1[0-4])" ~ minute %}
    {% set offset = " ?(?:z|utc|gmt|(?:utc|gmt)?[+-](?:" ~ hours ~ ")" ~ comment ~ ")" %}
    {% set region = "(?-i: [A-Z][A-Za-z]+(?:/[A-Z][A-Za-z0-9_+-]*)+)" %}
    {% set clock_24 = "(?:" ~ hour ~ ":" ~ minute ~ "(?::" ~ seconds ~ ")?|" ~ full_hour ~ minute ~ minute ~ ")" %}
    {% set clock_12 = (
        half_day
        ~ "(?::"
        ~ minute
        ~ "(?::"
        ~ seconds
        ~ ")?|[.]"
        ~ minute
        ~ "[.]"
        ~ seconds
        ~ ") ?[ap][.]?m[.]?"
    ) %}
    {% set zoned = [clock_24 ~ "(?:" ~ offset ~ "|" ~ region ~ ")", clock_12 ~ "(?:" ~ offset ~ ")"] %}
    {% set separator, compact = "(?:,? |t|:)", "[0-9]{14}(?:" ~ offset ~ ")" %}
    {% set iso_date = year ~ "-[01][0-9]-[0-3][0-9]" %}
    {% set iso_hour, iso_seconds = "[ T]" ~ full_hour ~ ":" ~ minute, ":" ~ minute ~ "(?:[.][0-9]{1,9})?" %}
    {% do return(
        {
            "iso": "(?-i)" ~ iso_date ~ "(?:" ~ iso_hour ~ "(?:" ~ iso_seconds ~ "Z?)?)?",
            "iso_with_offset": "(?-i)" ~ iso_date ~ iso_hour ~ iso_seconds ~ "[+-](?:0[0-9]|1[0-4]):" ~ minute,
            "epoch": "[0-9]{10}(?:[0-9]{3}){0,3}(?:[.][0-9]*)?",
            "any": date ~ "(?:" ~ separator ~ "(?:" ~ zoned
            | join("?|") ~ "?|" ~ full_hour ~ "))?|" ~ compact ~ "?",
            "with_offset": date ~ separator ~ "(?:" ~ zoned | join("|") ~ ")|" ~ compact,
            "date": date,
        }
    ) %}
{% endmacro %}

{% macro month_names() %}
    {# The English months; a text may have their first three letters alone. #}
    {% set names = "january february march april may june july august september october november december" %}
    {% do return(names.split()) %}
{% endmacro %}

{% macro in_iso(text) -%}
    {#- SQL: a text of a known form as YYYY-M-D h:mm:ss.f+hh:mm, where the hours of a half day count from 0. -#}
    {%- set end, order = "(?:,? |t|:)?", "$3-$2-$1 " if setting("source_date_order") == "dmy" else "$3-$1-$2 " -%}
    {%- set of_numbers = [
        ("^([0-9]{4})[^0-9]?([0-9]{1,2})[^0-9]?([0-9]{1,2})日?" ~ end, "$1-$2-$3 "),
        ("^([0-9]{1,2})[^0-9]([0-9]{1,2})[^0-9]([0-9]{4})" ~ end, order),
    ] -%}
    {%- set of_names = [
        ("^(?:[a-z]+,? )?([0-9]{1,2})[-/ ]([a-z]{3})[a-z]*[.]?,?[-/ ]([0-9]{4}|[0-9]{2})" ~ end, "$3-$2-$1 "),
        ("^(?:[a-z]+,? )?([a-z]{3})[a-z]*[.]? ([0-9]{1,2}),? ([0-9]{4})" ~ end, "$3-$1-$2 "),
        ("^([0-9]{2})-", "20$1-"),
    ] -%}
    {%- for name in month_names() -%}
        {%- do of_names.append(("-" ~ name[:3] ~ "-", "-" ~ loop.index ~ "-")) -%}
    {%- endfor -%}
    {%- set date -%}
        case
            when {{ matches(text, "(?:[a-z]|[0-9]{1,2}[-/ ][a-z]).*") }}
            then {{ replaced_in_turn(text, of_names) }}
            else {{ replaced_in_turn(text, of_numbers) }}
        end
    {%- endset -%}
    {{
        replaced_in_turn(
            date,
            [
                (" ?[(\\[].*$", ""),
                (",([0-9])", ".$1"),
                (" ([0-9]{1,2})[.]?([0-9]{2})[.]?([0-9]{2})", " $1:$2:$3"),
                (" $", " 00:00:00"),
                (" ([0-9]{2})$", " $1:00:00"),
                (" 12([0-9:.]+ ?[ap][.]?m\\b)", " 0$1"),
                ("([0-9]) ?[ap][.]?m\\b[.]?", "$1"),
                ("( [0-9]{1,2}:[0-9]{2})($|[^0-9:])", "$1:00$2"),
                ("([0-9]) ?(?:z|utc|gmt)$", "$1+00:00"),
                ("([0-9]) ?(?:utc|gmt)?([+-][0-9]{1,2})$", "$1$2:00"),
                ("([0-9]) ?(?:utc|gmt)?([+-][0-9]{1,2}):?([0-9]{2})$", "$1$2:$3"),
                ("([+-])([0-9]:[0-9]{2})$", "$10$2"),
            ],
        )
    }}
{%- endmacro %}

{% macro replaced_in_turn(text, rules) -%}
    {#- SQL: the text after all replacements, pairs of a pattern and a replacement. -#}
    {%- set result = namespace(sql=text) -%}
    {%- for pattern, replacement in rules -%}
        {%- set result.sql = replaced(result.sql, pattern, replacement) -%}
    {%- endfor -%}
    {{ result.sql }}
{%- endmacro %}
