# Ages named in titles and search terms, one row per text and age, or one without an age. Each text is read once, and
# again if the reader or its dictionary changes.
from life_stage.text.new_texts import read_ages


def model(dbt, session):
    dbt.config(materialized="incremental", incremental_strategy="delete+insert", unique_key="text")
    return read_ages(
        session,
        items=dbt.ref("stg_items"),
        terms=dbt.ref("search_terms"),
        dictionary=dbt.ref("age_words"),
        known=session.table(str(dbt.this)) if dbt.is_incremental else None,
    )
