-- Consistency of seeds/age_words.csv: an age word always means the same interval of at least one month.
select age_word, min(from_month) as from_month, max(to_month) as to_month
from {{ ref("age_words") }}
where age_word is not null
group by age_word
having
    min(from_month) <> max(from_month)
    or min(to_month) <> max(to_month)
    or count(from_month) <> count(*)
    or count(to_month) <> count(*)
    or min(to_month) <= max(from_month)
