-- The ordinary words of a search term; which of them tell an age, the model learns.
select search_term, concat('search_word=', word) as feature from {{ ref("search_words") }} where word is not null
