"""Texts that no earlier run has read, read in batches: functions of the models text_ages and search_words."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from life_stage.spark import on_spark
from life_stage.text import reader

Relation = duckdb.DuckDBPyRelation | on_spark.Relation
Batches = Iterator[pa.RecordBatch]

TEXTS_PER_BATCH = 10_000
TEXT, INTEGER = pa.string(), pa.int32()
AGES = pa.schema({"text": TEXT, "age_word": TEXT, "from_month": INTEGER, "to_month": INTEGER, "reader": TEXT})
WORDS = pa.schema({"search_term": TEXT, "word": TEXT})


def read_ages(session: Any, *, items: Relation, terms: Relation, dictionary: Relation, known: Relation | None) -> Any:
    """Rows of text_ages: one per new text and age, or one without an age.

    Relations: stg_items, search_terms, age_words, text_ages.
    """
    words = sorted(dictionary.project("word, age_word, from_month, to_month").fetchall(), key=str)
    version = hashlib.md5(Path(reader.__file__).read_bytes() + repr(words).encode()).hexdigest()
    ages = reader.AgeReader(words)
    texts = items.filter("title is not null").project("title as text").union(terms.project("search_term as text"))
    read = known.filter(f"reader = '{version}'").project("text") if known is not None else None

    def rows_of(text: str) -> Iterable[tuple]:
        return ((text, *age, version) for age in sorted(ages.read(text)) or [(None, None, None)])

    return read_new(session, texts, read, rows_of, AGES)


def read_words(session: Any, *, terms: Relation, known: Relation | None) -> Any:
    """Rows of search_words: one per new term and word, or one without a word. Relations: search_terms, search_words."""
    read = known.project("search_term") if known is not None else None
    return read_new(session, terms.project("search_term"), read, word_rows, WORDS)


def word_rows(term: str) -> Iterable[tuple]:
    """The rows of a term in search_words."""
    return ((term, word) for word in sorted(reader.words_of(term)) or [None])


def read_new(
    session: Any, texts: Relation, known: Relation | None, rows_of: Callable[[str], Iterable[tuple]], schema: pa.Schema
) -> Any:
    """The rows of each distinct text that is not known; on Spark read on the executors."""
    texts = texts.distinct()
    new = texts.except_(known.distinct()) if known is not None else texts

    def read(batches: Batches) -> Batches:
        for batch in batches:
            rows = [row for text in batch.column(0).to_pylist() for row in rows_of(text)]
            columns = zip(*rows, strict=True) if rows else [[] for _ in schema]
            yield pa.RecordBatch.from_arrays(list(map(pa.array, columns, schema.types)), schema=schema)

    if isinstance(session, on_spark.Session):
        return session.mapped(new.frame, read, schema)
    return pa.RecordBatchReader.from_batches(schema, read(new.to_arrow_table().to_batches(TEXTS_PER_BATCH)))
