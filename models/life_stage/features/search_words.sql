-- Words of search terms, one row per term and word. Each term is parsed once. Words between blanks stay whole; Chinese
-- and Japanese text is split into overlapping character pairs; a number keeps the character after it (2段 is a formula
-- stage).
{{ config(materialized="incremental", incremental_strategy="append") }}
{% set signs = "\u3040-\u30ff\u4e00-\u9fff" %}
{% set letters = "a-z\u00df-\u024f\u0370-\u052f\u0590-\u06ff\uac00-\ud7af" %}
{% set number = "[0-9]{1,9}(?:[.][0-9]{1,9})?[" ~ signs ~ "]" %}
{% set pattern = "[" ~ letters ~ "][0-9" ~ letters ~ "]+|" ~ number ~ "|[" ~ signs ~ "]{1,20}" %}
{% set is_run_of_signs = "regexp_extract(pieces.piece, '^[" ~ signs ~ "]', 0) <> ''" %}
with
    new_terms as (
        select distinct terms.search_term
        from {{ ref("search_terms") }} as terms
        {% if is_incremental() %}
            left join (select distinct search_term from {{ this }}) as known on terms.search_term = known.search_term
            where known.search_term is null
        {% endif %}
    ),
    pieces as (
        select
            search_term,
            {{ row_per_element("regexp_extract_all(" ~ normalise_text("search_term") ~ ", '" ~ pattern ~ "', 0)") }}
            as piece
        from new_terms
    ),
    words as (
        select distinct
            pieces.search_term,
            case
                when {{ is_run_of_signs }} and length(pieces.piece) > 2
                then substr(pieces.piece, positions.n, 2)
                else pieces.piece
            end as word
        from pieces
        inner join
            ({{ every_integer(1, 19) }}) as positions
            on positions.n = 1
            or (positions.n < length(pieces.piece) and {{ is_run_of_signs }})
    )
select new_terms.search_term, words.word
from new_terms
left join words on new_terms.search_term = words.search_term and length(words.word) <= 40
