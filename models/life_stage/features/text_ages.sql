-- Ages named in titles and search terms, one row per text and age, or one without an age. Each text is parsed once, and
-- again if the parser or its dictionary changes.
{{ config(materialized="incremental", incremental_strategy="delete+insert", unique_key="text") }}
{% set reader = local_md5(read_ages("new_texts", "text")) %}
with
    dictionary as (
        select
            concat('{{ reader }}', ' ', {{ order_free_hash(["word", "age_word", "from_month", "to_month"]) }}) as reader
        from {{ ref("age_words") }}
    ),
    texts as (
        select title as text
        from {{ ref("stg_items") }}
        where title is not null
        union
        select search_term as text
        from {{ ref("search_terms") }}
    ),
    new_texts as (
        select texts.text, dictionary.reader
        from texts
        cross join dictionary
        {% if is_incremental() %}
            left join
                (select distinct text, reader from {{ this }}) as known
                on texts.text = known.text
                and dictionary.reader = known.reader
            where known.text is null
        {% endif %}
    ),
    ages as ({{ read_ages("new_texts", "text") }})
select new_texts.text, ages.age_word, ages.from_month, ages.to_month, new_texts.reader
from new_texts
left join ages on new_texts.text = ages.text
