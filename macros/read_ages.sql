{# Reader of the ages in titles and search terms, in digits, numerals or words, with one spelling per age. #}
{% macro read_ages(relation, text_column) -%}
    {#- SQL: one row per distinct text x age: text, age_word, from_month, to_month (exclusive, pregnancy negative).
        Digests are the keys, so that a long text is not copied per phrase; a phrase is an aggregate of its
        digest, so that no engine pushes the costly parsing below the aggregation. -#}
    {%- set pattern = age_phrase() | replace("(?:", "(") | replace("(", "(?:") -%}
    with
        texts as (select distinct {{ text_column }} as text, md5({{ text_column }}) as text_id from {{ relation }}),
        normalised_texts as (select distinct text_id, {{ normalise_text("text") }} as normalised from texts),
        found_phrases as (
            select text_id, array_distinct(regexp_extract_all(normalised, '{{ pattern }}', 0)) as phrases
            from normalised_texts
        ),
        text_phrases as (
            select distinct text_id, phrase, md5(phrase) as phrase_id
            from (select text_id, {{ row_per_element("phrases") }} as phrase from found_phrases) as found
        ),
        phrases as (select phrase_id, min(phrase) as phrase from text_phrases group by phrase_id),
        phrase_ages as ({{ ages_of_phrases("phrases") }}),
        searchable_texts as (
            -- Latin words are repeated between blanks, so that a word is found whole or not at all.
            select
                text_id,
                {{ replace_every("normalised", "[0-9一二两三四五六七八九十半] {0,2}周岁", "岁") }}
                || ' '
                || {{ replace_every("normalised", "[^a-z0-9]+", " ") }}
                || ' ' as searchable
            from normalised_texts
        ),
        word_ages as ({{ ages_of_words("searchable_texts") }}),
        text_ages as (
            select text_phrases.text_id, phrase_ages.age_word, phrase_ages.from_month, phrase_ages.to_month
            from text_phrases
            inner join phrase_ages on text_phrases.phrase_id = phrase_ages.phrase_id
            union
            select text_id, age_word, from_month, to_month
            from word_ages
        )
    select texts.text, text_ages.age_word, text_ages.from_month, text_ages.to_month
    from texts
    inner join text_ages on texts.text_id = text_ages.text_id
{%- endmacro %}

{% macro normalise_text(text) -%}
    {#- SQL: the text in one spelling: case, accents, full-width and traditional signs, blanks, dashes, halves. -#}
    {%- set alike = {
        "ＡＢＣＤＥＦＧＨＩＪＫＬＭＮＯＰＱＲＳＴＵＶＷＸＹＺ": "abcdefghijklmnopqrstuvwxyz",
        "ａｂｃｄｅｆｇｈｉｊｋｌｍｎｏｐｑｒｓｔｕｖｗｘｙｚ": "abcdefghijklmnopqrstuvwxyz",
        "０１２３４５６７８９．＋／：": "0123456789.+/:",
        "－—–―‐‑−─～〜~至到": "-------------",
        "\u3000\u00a0\u2009\u202f\t\r\n": "       ",
        "歲個箇週兩嬰兒婦園產後懷媽滿齡學準備預驗": "岁个个周两婴儿妇园产后怀妈满龄学准备预验",
    } -%}
    replace(
        replace(
            translate(lower({{ composed(text) }}), '{{ alike.keys() | join }}', '{{ alike.values() | join }}'),
            ' and a half',
            '.5'
        ),
        '½',
        '.5'
    )
{%- endmacro %}

{% macro age_phrase() -%}
    {#- The pattern of a number or a range, its units and its context: 3岁, 6个月-1岁半, ages 3+, two-year-old.
        Every repetition is bounded and nothing looks around, so RE2 and Java match alike in linear time.
        Context that makes a number no age (an adjacent letter, a guarantee) is captured too, and checked later.
        Groups: 1 before, 2 low, 3 unit of low, 4 high, 5 plus, 6 unit, 7 after. -#}
    {%- set digit = "[一二两三四五六七八九]" -%}
    {%- set number = (
        "[0-9]{1,3}(?:[.][0-9]{1,2})?|"
        ~ digit
        ~ "?十"
        ~ digit
        ~ "?|"
        ~ digit
        ~ "{1,2}|[半零〇]|(?:"
        ~ english_numbers().keys()
        | join("|") ~ ")(?:[.]5|[a-z0-9]+)?"
    ) -%}
    {%- set months_more = "(?:零| and | )?(?:1[01]|[1-9]|十一?|" ~ digit ~ ") ?(?:个月|mo[a-z]*)" -%}
    {%- set unit = (
        "个[半多]?月|月[龄大宝婴]?|m[a-z]*[23]?|(?:周?岁(?:半[袖身价裙]?)?|y[a-z]*)(?:" ~ months_more ~ ")?"
    ) -%}
    {%- set dash = "(?: {0,2}[-一/、]{1,2} {0,2}| ?to ?)" -%}
    {%- set before = "[a-z]?age[sd]?:? ?|年龄:? ?|孕[期妇]?|pregnant |(?:保质期|质保|保修)[: ]?|[a-z0-9.]" -%}
    {%- set after = "[+]|以下|以内|质保|保修|联保|免息|包换|warranty|guarantee|pregnant" -%}
    {%- set range = (
        "(?:(?:[ -]?(" ~ unit ~ "))?(?:" ~ dash ~ "(?:" ~ number ~ ")){0,3}" ~ dash ~ "(" ~ number ~ "))?"
    ) -%}
    {%- set rest = "([+][0-9]*)?(?:[ -]?(" ~ unit ~ "))?(?: ?(" ~ after ~ "))?" -%}
    {{ "(" ~ before ~ ")??(" ~ number ~ ")" ~ range ~ rest }}
{%- endmacro %}

{% macro english_numbers() -%}
    {#- {English number: value}, longest first, because both engines take the first alternative that matches. -#}
    {{
        return(
            {
                "twenty-four": 24,
                "twenty four": 24,
                "eighteen": 18,
                "fifteen": 15,
                "twelve": 12,
                "eleven": 11,
                "three": 3,
                "seven": 7,
                "eight": 8,
                "four": 4,
                "five": 5,
                "nine": 9,
                "one": 1,
                "two": 2,
                "six": 6,
                "ten": 10,
            }
        )
    }}
{%- endmacro %}

{% macro ages_of_phrases(phrases) -%}
    {#- SQL: the ages of each phrase. A range over 6 years or an age past 14 is unrelated to stages: no row.
        Aggregates over a single phrase keep Spark from copying each expression into all of its uses. -#}
    with
        phrase_months as (
            select
                phrase_id,
                max(is_up_to) as is_up_to,
                max({{ is_whole_year("low_number", "low_unit") }}) as is_whole_year,
                max(is_up_to or high_number <> '') as is_range,
                max({{ months_of("low_number", "low_unit") }}) as low_months,
                max({{ months_of("high_number", "high_unit") }}) as high_months
            from ({{ parts_of_phrases(phrases) }}) as phrase_parts
            group by phrase_id
        ),
        phrase_intervals as (
            select
                phrase_id,
                is_range,
                case when is_up_to then 0 else low_months end as from_month,
                case
                    when is_up_to
                    then low_months
                    when is_range
                    then high_months
                    when is_whole_year
                    then low_months + 12
                    else low_months + 1
                end as to_month
            from phrase_months
        )
    select
        phrase_id,
        from_month,
        to_month,
        case
            when is_range and from_month % 12 = 0 and to_month % 12 = 0
            then {{ whole("from_month / 12") }} || '-' || {{ whole("to_month / 12") }} || 'y'
            when is_range
            then {{ whole("from_month") }} || '-' || {{ whole("to_month") }} || 'm'
            when to_month - from_month = 12
            then {{ whole("from_month / 12") }} || 'y'
            else {{ whole("from_month") }} || 'm'
        end as age_word
    from phrase_intervals
    where from_month < to_month and to_month - from_month <= 72 and to_month <= 168
{%- endmacro %}

{% macro whole(number) -%}
    {#- SQL: the whole number as text. -#}
    cast(cast({{ number }} as int) as string)
{%- endmacro %}

{% macro digits_for_words(text) -%}
    {#- SQL: the text with English numbers in digits. -#}
    {%- set spelled = namespace(sql=text) -%}
    {%- for word, number in english_numbers().items() -%}
        {%- set spelled.sql = "replace(" ~ spelled.sql ~ ", '" ~ word ~ "', '" ~ number ~ "')" -%}
    {%- endfor -%}
    {{ spelled.sql }}
{%- endmacro %}

{% macro number_of(text) -%}
    {#- SQL: the number. 十 is a one before digits, a zero after them and both alone: 十二 = 12, 二十 = 20, 二十四 = 24, 十 =
        10. -#}
    try_cast(
        replace(
            replace(translate({{ text }}, '零〇一二两三四五六七八九', '001223456789'), '半', '0.5'),
            '十',
            case when {{ text }} like '十%' then '1' else '' end || case when {{ text }} like '%十' then '0' else '' end
        ) as double
    )
{%- endmacro %}

{% macro is_whole_year(number, unit) -%}
    {#- SQL: true if the phrase is a whole number of years. 半袖 is a short sleeve: 3岁半袖 is three years, 3岁半 is not a
        whole number of years. -#}
    regexp_extract({{ unit }}, '^(周?岁(半[^半])?|y[a-z]*)$', 0) <> '' and regexp_extract({{ number }}, '[.半]', 0) = ''
{%- endmacro %}

{% macro months_of(number, unit) -%}
    {#- SQL: the age in months. 岁半 adds half a year, 岁3个月 three months; a unit that is no age unit (ml, model) gives
        null. -#}
    {%- set ends_in_months = "(1[01]|[1-9]|十一?|[一二两三四五六七八九]) ?(个月|mo[a-z]*)$" -%}
    {%- set months_more = "regexp_extract(" ~ unit ~ ", '" ~ ends_in_months ~ "', 1)" -%}
    cast(
        floor(
            {{ number_of(number) }} * case
                when regexp_extract({{ unit }}, '岁|^(y|yo|yrs?|years?)([ 0-9].*)?$', 0) <> ''
                then 12
                when regexp_extract({{ unit }}, '^(个.*|月.*|m|mon?|mos|mths?|mnths?|months?)$', 0) <> ''
                then 1
            end
            + case when {{ unit }} like '%半' then 6 else coalesce({{ number_of(months_more) }}, 0) end
        ) as int
    )
{%- endmacro %}

{% macro parts_of_phrases(phrases) -%}
    {#- SQL: the low and the high end of each phrase as text, without phrases that are no ages in their context. -#}
    {%- set first_of_two = "regexp_extract(low, '^([一二两三四五六七八九])[一二三四五六七八九]$', 1)" -%}
    with
        spelled as (
            select
                phrase_id
                {%- for part in ["before", "low", "first_unit", "high", "plus", "last_unit", "after"] %}
                    {%- set part_text = "regexp_extract(phrase, '" ~ age_phrase() ~ "', " ~ loop.index ~ ")" %},
                    max({{ digits_for_words(part_text) }}) as {{ part }}
                {%- endfor %}
            from {{ phrases }}
            group by phrase_id
        ),
        units_settled as (
            select
                *,
                case
                    when last_unit <> ''
                    then last_unit
                    when first_unit <> ''
                    then first_unit
                    when regexp_extract(before, '^age|^年龄', 0) <> ''
                    then 'y'
                    when plus = '+' and high = '' and regexp_extract(low, '^[1-9]$', 0) <> ''
                    then 'y'
                    else ''
                end as unit
            from spelled
        )
    select
        phrase_id,
        after in ('以下', '以内') and high = '' as is_up_to,
        -- 三四岁 names two ages without a dash
        coalesce(nullif({{ first_of_two }}, ''), low) as low_number,
        -- 6个月-90cm: the number behind the dash is no age
        case
            when last_unit = '' and first_unit <> ''
            then ''
            when high = '' and {{ first_of_two }} <> ''
            then substr(low, 2, 1)
            else high
        end as high_number,
        case when first_unit = '' then unit else first_unit end as low_unit,
        unit as high_unit
    from units_settled
    where {{ is_age_in_context() }}
{%- endmacro %}

{% macro is_age_in_context() -%}
    {#- SQL: true if the number is an age. Numbers next to letters, guarantees, metres, calendar months and months of
        pregnancy are no ages. -#}
    regexp_extract(before, '[0-9.]$|^孕|^保|^质|^pregnant', 0) = ''
    and (
        regexp_extract(before, '[a-z]$', 0) = ''
        or regexp_extract(before, '^age', 0) <> ''
        or regexp_extract(unit, '^[个月周岁]', 0) <> ''
    )
    and after in ('', '+', '以下', '以内')
    and plus in ('', '+')
    -- 5月 is May, 18月 is an age
    and (unit <> '月' or high <> '' or low = '0' or regexp_extract(low, '^(1[3-9]|[2-9][0-9])$', 0) <> '')
    -- 3M is a brand and 2m a length: alone, m means months only on the labels that clothes shops print
    and (unit <> 'm' or high <> '' or plus = '+' or after = '+' or low in ('6', '9', '12', '18', '24'))
    and (unit <> 'm' or low || high not like '%.%')
{%- endmacro %}

{% macro ages_of_words(searchable_texts) -%}
    {#- SQL: the dictionary's words in each text, without words inside a longer one that was found. -#}
    with
        words as (
            select
                case when regexp_extract(word, '[^a-z0-9 ]', 0) = '' then ' ' || word || ' ' else word end as word,
                age_word,
                from_month,
                to_month
            from {{ ref("age_words") }}
        ),
        words_found as (
            select searchable_texts.text_id, words.word
            from {{ searchable_texts }} as searchable_texts
            inner join words on contains(searchable_texts.searchable, words.word)
        ),
        words_within_words as (
            select inner_words.word, outer_words.word as outer_word
            from words as inner_words
            inner join
                words as outer_words
                on contains(outer_words.word, inner_words.word)
                and outer_words.word <> inner_words.word
        ),
        words_hidden as (
            select words_found.text_id, words_within_words.word
            from words_found
            inner join words_within_words on words_found.word = words_within_words.outer_word
        )
    select words_found.text_id, words.age_word, words.from_month, words.to_month
    from words_found
    inner join words on words_found.word = words.word
    left join words_hidden on words_found.text_id = words_hidden.text_id and words_found.word = words_hidden.word
    where words_hidden.word is null and words.from_month is not null
{%- endmacro %}
