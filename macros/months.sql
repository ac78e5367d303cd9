{# Target months and input hashes of each monthly table, for the monthly materializations. #}
{% macro month_in_words(time) -%}
    {#- SQL: the month of a date or time, such as Nov 2016; null if it is null. -#}
    substr('JanFebMarAprMayJunJulAugSepOctNovDec', 3 * month({{ time }}) - 2, 3)
    || ' '
    || cast(year({{ time }}) as string)
{%- endmacro %}

{% macro rows_as_dicts(sql) %}
    {# The rows of a query as {column: text}. #}
    {% set rows = [] %}
    {% for row in run_query(sql).rows %}
        {% set values = {} %}
        {% for name in row.keys() %}
            {% do values.update({name: row[name] if row[name] is none else row[name] | string}) %}
        {% endfor %}
        {% do rows.append(values) %}
    {% endfor %}
    {% do return(rows) %}
{% endmacro %}

{% macro months_to_stage() %}
    {# Months of the source files. A month is staged again when its files, those of the two months before it or the
       validation rules change (part of a file's version), and once it is over: rows in the future of an earlier run are
       validated again. Months absent from the source keep their rows, months past var retention_actions_months are
       never read again, and a month whose rows were corrected away is emptied. #}
    {% set inventory, built = ref("source_file_months"), input_hashes_of(this.identifier) %}
    {% set staged = load_relation(this.incorporate(path={"identifier": "action_months"})) %}
    {% set absent = (
        run_query(months_absent_from_source(inventory, staged)).columns[0].values() | map("string") | list
        if staged
        else []
    ) %}
    {% set kept = retained_from("actions") %}
    {% set sql %}
        select
            month,
            concat_ws(
                ' ',
                {{ order_free_hash(["file", "version", "occurred_month", "n_rows"]) }},
                case when month < {{ month_of(business_time(clock())) }} then 'over' else 'open' end
            ) as input_hash
        from {{ inventory }}
        where is_present
        group by month
    {% endset %}
    {% set hashes = {} %}
    {% for row in rows_as_dicts(sql) if row.month not in absent and row.month >= kept %}
        {% do hashes.update({row.month: row.input_hash}) %}
    {% endfor %}
    {% set targets = modules.life_stage.with_months_before(hashes, built, absent, kept) %}
    {% set first_month = "select min(month) as month from " ~ inventory ~ " where month = occurred_month" %}
    {% set history_from = "date '" ~ (run_query(first_month).rows[0]["month"] or "2000-01-01") ~ "'" %}
    {% set rows, is_there = [], load_relation(this) is not none %}
    {% for month, input_hash in targets | dictsort %}
        {% set sql = (
            "select distinct file, home_month from "
            ~ inventory
            ~ " where is_present and month = date '"
            ~ month
            ~ "' order by file"
        ) %}
        {% set files = rows_as_dicts(sql) if built.get(month) != input_hash else [] %}
        {% set homes = files | selectattr("home_month", "equalto", month) | map(attribute="file") | list %}
        {% if not files %} {% set source = empty_frame("actions") %}
        {# Rows without a usable time are of the home month. #}
        {% elif reads_tables() and not homes %} {% set source = table_rows_near(month) %}
        {% else %} {% set source = source_rows("actions", files | map(attribute="file") | list) %}
        {% endif %}
        {% do rows.append(
            {
                "month": month,
                "input_hash": input_hash,
                "source_rows": source,
                "home_files": quoted(homes or [""]),
                "history_from": history_from,
                "months_before": valid_rows_before(month, is_there or not loop.first),
            }
        ) %}
    {% endfor %}
    {% do return(
        rows
        or [
            {
                "month": "1970-01-01",
                "input_hash": none,
                "source_rows": empty_frame("actions"),
                "home_files": "''",
                "history_from": history_from,
                "months_before": valid_rows_before("1970-01-01", is_there),
            }
        ]
    ) %}
{% endmacro %}

{% macro valid_rows_before(month, is_there) %}
    {# SQL: the valid rows of the two months before, from the table itself if it is there. #}
    {% if is_there %}
        {% do return(
            "select * from "
            ~ this
            ~ " where reasons is null and not is_duplicate and month < date '"
            ~ month
            ~ "' and month >= "
            ~ months_after("date '" ~ month ~ "'", -2)
        ) %}
    {% endif %}
    {% do return(empty_frame("actions")) %}
{% endmacro %}

{% macro months_absent_from_source(inventory, staged) %}
    {# SQL: months that left the source: no file holds their rows, or their own file is gone and others hold fewer rows
       than were staged. Rows missing from a file that is still there are a correction. #}
    select staged.month
    from {{ staged }} as staged
    left join
        (
            select month, sum(n_rows) as n_rows, max(case when home_month = month then 1 else 0 end) as has_own_file
            from {{ inventory }}
            where is_present
            group by month
        ) as present
        on staged.month = present.month
    left join
        (
            select month, max(case when home_month = month then 1 else 0 end) as had_own_file
            from {{ inventory }}
            where not is_present
            group by month
        ) as gone
        on staged.month = gone.month
    where
        coalesce(present.n_rows, 0) < staged.n_rows
        and (
            (present.month is null and {{ "true" if reads_tables() else "gone.month is not null" }})
            or (present.has_own_file = 0 and gone.had_own_file = 1)
        )
{% endmacro %}

{% macro staged_months() %}
    {# Months of stg_action_rows, oldest first: [{month, input_hash}]. #}
    {% do return(months_built("stg_action_rows")) %}
{% endmacro %}

{% macro months_to_fit() %}
    {# Months of catalogue_fit. One in which less than half of the actions were on known items is compared again with a
       changed catalogue. #}
    {% set poor, catalogue = [], "" %}
    {% if load_relation(this) %}
        {% set sql = "select month from " ~ this ~ " where n_in_catalogue < 0.5 * n_item_actions" %}
        {% set poor = run_query(sql).columns[0].values() | map("string") | list %}
        {% set items = "select " ~ order_free_hash(["item_id"]) ~ " as items from " ~ ref("stg_items") %}
        {% set catalogue = " " ~ run_query(items).rows[0]["items"] if poor %}
    {% endif %}
    {% set rows = [] %}
    {% for row in staged_months() %}
        {% do rows.append(dict(row, input_hash=row.input_hash ~ (catalogue if row.month in poor else ""))) %}
    {% endfor %}
    {% do return(rows) %}
{% endmacro %}

{% macro closed_months() %}
    {# Closed months of the calendar, oldest first: [{month, input_hash}]. #}
    {% do return(
        rows_as_dicts(
            "select month, content_hash as input_hash from "
            ~ ref("month_calendar")
            ~ " where is_closed order by month"
        )
    ) %}
{% endmacro %}

{% macro months_to_count() %}
    {# Months of the feature tables. Features depend on the month's actions and on the feature files: a changed feature
       group is counted for all months, so that the next model is trained on the whole history. #}
    {% set rows, features = [], features_hash() %}
    {% for row in closed_months() %}
        {% do rows.append(dict(row, input_hash=row.input_hash ~ " " ~ features)) %}
    {% endfor %}
    {% do return(rows) %}
{% endmacro %}

{% macro months_with_model() %}
    {# Months of the log-likelihoods, which depend on the month's actions and its assigned model. #}
    {% do return(
        rows_as_dicts(
            "select models.month, calendar.content_hash || ' ' || models.model_version as input_hash, models.model_version from "
            ~ ref("month_model_assignments")
            ~ " as models inner join "
            ~ ref("month_calendar")
            ~ " as calendar on models.month = calendar.month where calendar.is_closed order by models.month"
        )
        or [{"month": "1970-01-01", "input_hash": none, "model_version": "none"}]
    ) %}
{% endmacro %}

{% macro months_with_posterior() %}
    {# Months of birth_month_filter, for tables that depend on the posterior alone. #}
    {% do return(months_built("birth_month_filter")) %}
{% endmacro %}

{% macro months_with_registrations() %}
    {# Months of registered_births: the input hash covers the registrations known by the month. #}
    {% set hashes = [] %}
    {% set sql %}
        select
            known_from_month as month,
            {{ order_free_hash(["user_id", "child_no", "birth_date", "registered_at"]) }} as contents
        from {{ ref("stg_children") }}
        where known_from_month is not null
        group by known_from_month
        order by known_from_month
    {% endset %}
    {% set registrations = rows_as_dicts(sql) %}
    {% for row in months_built("birth_month_filter") %}
        {% set contents = (
            registrations | rejectattr("month", "gt", row.month) | map(attribute="contents") | join(" ")
        ) %}
        {% do hashes.append({"month": row.month, "input_hash": contents}) %}
    {% endfor %}
    {% do return(hashes) %}
{% endmacro %}

{% macro months_with_household_stages() %}
    {# Months of household_stages, for household_children, which also depends on the thresholds. #}
    {% do return(
        months_built(
            "household_stages",
            " "
            ~ [
                setting("marts_min_probability"),
                setting("marts_min_first_probability"),
                setting("marts_min_further_probability"),
            ]
            | join(" "),
        )
    ) %}
{% endmacro %}

{% macro months_built(model_name, settings="") %}
    {# Months of a monthly table, oldest first: [{month, input_hash}]. #}
    {% set rows, built = [], input_hashes_of(model_name) %}
    {% for month in built | sort %}
        {% do rows.append({"month": month, "input_hash": built[month] ~ settings}) %}
    {% endfor %}
    {% do return(rows) %}
{% endmacro %}

{% macro months_to_score() %}
    {# Months of the stateless baseline, which also uses the same month a year before. #}
    {% set sql %}
        select
            models.month,
            concat(calendar.content_hash, ' ', coalesce(year_before.content_hash, 'none'), ' ', models.model_version) as input_hash,
            models.model_version
        from {{ ref("month_model_assignments") }} as models
        inner join {{ ref("month_calendar") }} as calendar on models.month = calendar.month
        left join
            {{ ref("month_calendar") }} as year_before
            on models.month = {{ months_after("year_before.month", 12) }}
        where calendar.is_closed
        order by models.month
    {% endset %}
    {% do return(rows_as_dicts(sql)) %}
{% endmacro %}

{% macro months_to_fuse() %}
    {# Months of dynamic_fusion, whose tracks also depend on var fusion_merge. #}
    {% set rows = [] %}
    {% for row in months_to_score() %}
        {% do rows.append(dict(row, input_hash=row.input_hash ~ " " ~ setting("fusion_merge"))) %}
    {% endfor %}
    {% do return(rows) %}
{% endmacro %}
