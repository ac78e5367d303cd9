-- The words of every search term, each term parsed once in its life: Latin words whole, Chinese, which has no blanks,
-- in overlapping pairs of signs, and numbers with the sign behind them (2段 is a stage of formula).
{{ config(materialized="incremental", incremental_strategy="append") }}
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
            {{
                row_per_element(
                    "regexp_extract_all("
                    ~ fold_age_text("search_term")
                    ~ ", '[a-z][a-z0-9]+|[0-9]{1,3}[\u4e00-\u9fff]|[\u4e00-\u9fff]{1,20}', 0)"
                )
            }} as piece
        from new_terms
    ),
    words as (
        select distinct
            pieces.search_term,
            case
                when regexp_extract(pieces.piece, '^[a-z0-9]', 0) <> '' or length(pieces.piece) < 3
                then pieces.piece
                else substr(pieces.piece, positions.n, 2)
            end as word
        from pieces
        inner join
            ({{ every_integer(1, 19) }}) as positions
            on positions.n = 1
            or (positions.n < length(pieces.piece) and regexp_extract(pieces.piece, '^[a-z0-9]', 0) = '')
    )
select new_terms.search_term, words.word
from new_terms
left join words on new_terms.search_term = words.search_term and length(words.word) <= 40
