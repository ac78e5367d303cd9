-- Words of a search term. The model learns the ones that indicate an age.
select search_term, concat('search_word=', word) as feature from {{ ref("search_words") }} where word is not null
