-- The ages a search term names, because shoppers search for things that fit their child now.
select text as search_term, concat('search_age=', age_word) as feature
from {{ ref("text_ages") }}
where age_word is not null
