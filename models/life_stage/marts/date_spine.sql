-- The calendar that metrics are asked by: every day of the months told.
select cast(day as date) as date_day
from ({{ every_day("min(month)", "max(month)", ref("user_stage_months")) }}) as days
