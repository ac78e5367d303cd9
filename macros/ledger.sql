{# Which months each table wants, from which input: the lists that the monthly materializations work off. #}
{% macro rows_as_dicts(sql) %}
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
    {# Every month that some file holds rows of, but for the retired. It is staged again when those files change, and once
       it is over: a row that lay in the future of an earlier run is judged anew. #}
    {% set inventory, staged = ref("source_file_months"), load_relation(
        this.incorporate(path={"identifier": "action_months"})
    ) %}
    {% set months = rows_as_dicts(
        "select month, cast(month < "
        ~ month_of(business_time(clock()))
        ~ " as string) || ' ' || "
        ~ order_free_hash(["file", "version", "occurred_month", "n_rows"])
        ~ " as fingerprint from "
        ~ inventory
        ~ " where is_present"
        ~ (" and month not in (" ~ retired_months(inventory, staged) ~ ")" if staged else "")
        ~ " group by month order by month"
    ) %}
    {% for row in months %}
        {% set files = rows_as_dicts(
            "select distinct file, home_month from "
            ~ inventory
            ~ " where is_present and month = date '"
            ~ row.month
            ~ "' order by file"
        ) %}
        {% set homes = files | selectattr("home_month", "equalto", row.month) | map(attribute="file") | list %}
        {% do row.update(
            {
                "source_rows": source_rows("actions", files | map(attribute="file") | list),
                "home_files": quoted(homes or [""]),
            }
        ) %}
    {% endfor %}
    {% do return(
        months
        or [
            {
                "month": "1970-01-01",
                "fingerprint": none,
                "source_rows": empty_frame("actions"),
                "home_files": "''",
            }
        ]
    ) %}
{% endmacro %}

{% macro retired_months(inventory, staged) %}
    {# Months whose own file has left the source: they are kept as they were, even where another file holds a few rows of
       theirs. A month that is there in full, in whatever file, is not retired. #}
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
        (select distinct home_month as month from {{ inventory }} where not is_present) as gone
        on staged.month = gone.month
    where
        coalesce(present.n_rows, 0) < staged.n_rows
        and (present.month is null or (present.has_own_file = 0 and gone.month is not null))
{% endmacro %}

{% macro staged_months() %}
    {% do return(
        rows_as_dicts(
            "select month, fingerprint from "
            ~ built_months()
            ~ " where model= 'stg_action_rows' order by month"
        )
    ) %}
{% endmacro %}

{% macro closed_months() %}
    {% do return(
        rows_as_dicts(
            "select month, contents as fingerprint from "
            ~ ref("month_ledger")
            ~ " where is_closed order by month"
        )
    ) %}
{% endmacro %}

{% macro months_with_model() %}
    {# Evidence depends on the month's actions and on the model that scores it. #}
    {% do return(
        rows_as_dicts(
            "select models.month, ledger.contents || ' ' || models.model_version as fingerprint, models.model_version from "
            ~ ref("month_models")
            ~ " as models inner join "
            ~ ref("month_ledger")
            ~ " as ledger on models.month = ledger.month where ledger.is_closed order by models.month"
        )
        or [{"month": "1970-01-01", "fingerprint": none, "model_version": "none"}]
    ) %}
{% endmacro %}
