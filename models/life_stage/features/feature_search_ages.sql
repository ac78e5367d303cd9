-- The ages a search term names, because shoppers search for things that fit their child now.
with search_ages as ({{ read_ages(ref("search_terms"), "search_term") }})
select search_ages.text as search_term, 'search_age=' || search_ages.age_word as feature
from search_ages
