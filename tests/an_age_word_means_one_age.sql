-- Consistency of seeds/age_words.csv: an age word always means the same interval of at least one month.
select age_word, min(words.from_month) as from_month, max(words.to_month) as to_month
from {{ ref("age_words") }} as words
where age_word is not null
group by age_word
having
    min(words.from_month) <> max(words.from_month)
    or min(words.to_month) <> max(words.to_month)
    or count(words.from_month) <> count(*)
    or count(words.to_month) <> count(*)
    or min(words.to_month) <= max(words.from_month)
