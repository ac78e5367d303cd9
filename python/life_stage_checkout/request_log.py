"""Logs of the recommender, as Parquet files for the monthly job (source tables `requests` and `answers`).

A request has the time, model, latency and item counts, and neither user nor cart, so that erasure does not concern it.
An answer has its items, and its user only as a pseudonym.
"""

import os
import threading
import warnings
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

REQUESTS = pa.schema(
    [
        ("requested_at", pa.timestamp("us", tz="UTC")),
        ("model", pa.string()),
        ("milliseconds", pa.float64()),
        ("n_candidates", pa.int32()),
        ("n_shown", pa.int32()),
    ]
)
ANSWERS = pa.schema(
    [
        ("answer_id", pa.string()),
        ("answered_at", pa.timestamp("us", tz="UTC")),
        ("placement", pa.string()),
        ("user_id", pa.string()),
        ("model", pa.string()),
        ("rank", pa.int32()),
        ("item_id", pa.string()),
        ("probability", pa.float64()),
        ("reason", pa.string()),
    ]
)


class Log:
    """Thread-safe buffer of rows, written to one file per rows_per_file; as a context manager also at its end."""

    def __init__(self, folder: Path | str, schema: pa.Schema, rows_per_file: int = 1000):
        self.folder, self.schema, self.rows_per_file = Path(folder), schema, rows_per_file
        self.buffer: list[tuple] = []
        self.lock = threading.Lock()

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *raised: object) -> None:
        self.flush()

    def extend(self, rows: Iterable[tuple]) -> None:
        """Log rows of the schema."""
        with self.lock:
            self.buffer.extend(rows)
            is_full = len(self.buffer) >= self.rows_per_file
        if is_full:
            self.flush()

    def flush(self) -> None:
        """Write the buffer. On failure the rows are dropped with a warning, so that no request is delayed."""
        with self.lock:
            rows, self.buffer = self.buffer, []
        if not rows:
            return
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex}.parquet"
        unfinished = self.folder / f".{name}"  # hidden files are not part of the source
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            columns = [list(column) for column in zip(*rows, strict=True)]
            pq.write_table(pa.table(columns, schema=self.schema), unfinished)
            os.replace(unfinished, self.folder / name)
        except (OSError, pa.ArrowException) as error:
            warnings.warn(
                f"LS-LOG-001 {len(rows)} requests were not logged in {self.folder}: {error}: make the folder writable",
                stacklevel=2,
            )


class RequestLog(Log):
    """Log of requests."""

    def __init__(self, folder: Path | str, rows_per_file: int = 1000):
        super().__init__(folder, REQUESTS, rows_per_file)

    def add(self, model: str, milliseconds: float, n_candidates: int, n_shown: int) -> None:
        """Log a request at the current time."""
        self.extend([(datetime.now(UTC), model, milliseconds, n_candidates, n_shown)])
