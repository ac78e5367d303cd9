-- Date spine for metrics, one row per day of the published months.
select cast(day as date) as date_day
from ({{ every_day("min(month)", "max(month)", ref("user_stage_months")) }}) as days
