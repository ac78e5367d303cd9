"""Request log of the recommender, as Parquet files for the monthly job (source table `requests`).

Optional argument of a Recommender. A row has the time, model, latency and item counts, and neither user nor cart, so
that erasure does not concern it.
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
    """Thread-safe buffer of requests, written to one file per rows_per_file; as a context manager also at its end."""

    def __init__(self, folder: Path | str, rows_per_file: int = 1000):
        self.folder, self.rows_per_file = Path(folder), rows_per_file
        self.buffer: list[tuple] = []  # as SCHEMA
        self.lock = threading.Lock()

    def __enter__(self) -> "RequestLog":
        return self

    def __exit__(self, *raised: object) -> None:
        self.flush()

    def add(self, model: str, milliseconds: float, n_candidates: int, n_shown: int) -> None:
        """Log a request at the current time."""
        with self.lock:
            self.buffer.append((datetime.now(UTC), model, milliseconds, n_candidates, n_shown))
            is_full = len(self.buffer) >= self.rows_per_file
        if is_full:
            self.flush()

    def flush(self) -> None:
        """Write the buffer. On failure the rows are dropped with a warning, so that no request is delayed."""
        with self.lock:
            rows, self.buffer = self.buffer, []
        if not rows:
            return
        name = f"{rows[0][0]:%Y%m%dT%H%M%S}-{uuid4().hex}.parquet"
        unfinished = self.folder / f".{name}"  # hidden files are not part of the source
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            columns = [list(column) for column in zip(*rows, strict=True)]
            pq.write_table(pa.table(columns, schema=SCHEMA), unfinished)
            os.replace(unfinished, self.folder / name)
        except OSError as error:
            warnings.warn(
                f"LS-LOG-001 {len(rows)} requests were not logged in {self.folder}: {error}: make the folder writable",
                stacklevel=2,
            )
