-- Ages named in search terms, one row per term and age. Shoppers search for products that fit their child now.
select terms.search_term, concat('search_age=', ages.age_word) as feature
from (select distinct search_term from {{ ref("search_terms") }}) as terms
inner join {{ ref("text_ages") }} as ages on terms.search_term = ages.text
where ages.age_word is not null
