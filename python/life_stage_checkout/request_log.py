"""Request log with latencies, as Parquet files that the monthly job reads (source table `requests`).

Off unless a Recommender is given one. A row tells when, which model, how long and how many items, and nothing of who
asked or of what was in the cart: latency needs no user, and a log without users has nothing to erase.
"""

import os
import threading
import warnings
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        ("requested_at", pa.timestamp("us", tz="UTC")),
        ("model", pa.string()),
        ("milliseconds", pa.float64()),
        ("n_candidates", pa.int32()),
        ("n_shown", pa.int32()),
    ]
)


class RequestLog:
    """Collects requests, from several threads too, and writes them a file at a time; as a context, also the last."""

    def __init__(self, folder: Path | str, rows_per_file: int = 1000):
        self.folder, self.rows_per_file = Path(folder), rows_per_file
        self.waiting: list[tuple] = []  # as SCHEMA
        self.lock = threading.Lock()

    def __enter__(self) -> "RequestLog":
        return self

    def __exit__(self, *raised: object) -> None:
        self.flush()

    def add(self, model: str, milliseconds: float, n_candidates: int, n_shown: int) -> None:
        """Note a request that was answered now."""
        with self.lock:
            self.waiting.append((datetime.now(UTC), model, milliseconds, n_candidates, n_shown))
            is_full = len(self.waiting) >= self.rows_per_file
        if is_full:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting. Where that fails it is dropped with a warning: no shopper waits for a log."""
        with self.lock:
            rows, self.waiting = self.waiting, []
        if not rows:
            return
        name = f"{rows[0][0]:%Y%m%dT%H%M%S}-{uuid4().hex}.parquet"
        unfinished = self.folder / f".{name}"  # hidden: a run passes it over
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            columns = [list(column) for column in zip(*rows, strict=True)]
            pq.write_table(pa.table(columns, schema=SCHEMA), unfinished)
            os.replace(unfinished, self.folder / name)
        except OSError as error:
            warnings.warn(f"LS-LOG-001 {len(rows)} requests were not logged in {self.folder}: {error}", stacklevel=2)
