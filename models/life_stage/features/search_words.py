# Words of search terms, one row per term and word, or one without a word. Each term is read once.
from life_stage.text.new_texts import read_words


def model(dbt, session):
    dbt.config(materialized="incremental", incremental_strategy="append")
    return read_words(
        session,
        terms=dbt.ref("search_terms"),
        known=session.table(str(dbt.this)) if dbt.is_incremental else None,
    )
