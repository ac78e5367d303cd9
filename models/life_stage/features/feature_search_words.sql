-- Word features of search terms, one row per term and word. Training selects the informative ones.
select search_term, concat('search_word=', word) as feature from {{ ref("search_words") }} where word is not null
