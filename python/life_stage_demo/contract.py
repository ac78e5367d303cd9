"""Atomic writer of folders that follow the project's data contract.

Files go to a hidden directory next to the target, which is renamed at the end, so a kill leaves no partial folder.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

MARKER = "made_by.json"  # only a directory with this file may be replaced
ROWS_PER_GROUP = 122_880
ROWS_PER_FILE = 20_000_000

CHILDREN_SCHEMA = pa.schema(
    [
        ("user_id", pa.int64()),
        ("child_no", pa.int32()),
        ("birth_date", pa.date32()),
        ("registered_at", pa.timestamp("us")),
    ]
)


class InputError(Exception):
    """An error of the caller's input; the message is one line with the problem, its location and the remedy."""


@contextmanager
def replacing(target: Path, program: str) -> Iterator[Path]:
    """Yield an empty directory that replaces target when the block succeeds, and is deleted otherwise."""
    target = target.absolute()
    if target.exists() and not (target / MARKER).is_file():
        raise InputError(
            f"LS-DEMO-001 {target} exists and was not made by this program (it has no {MARKER}): "
            "choose another --out or remove it; nothing was changed"
        )
    partial, replaced = (
        target.with_name(f".{target.name}.partial"),
        target.with_name(f".{target.name}.replaced"),
    )
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        (partial / MARKER).write_text(json.dumps({"made_by": program}) + "\n")
        shutil.rmtree(replaced, ignore_errors=True)
        if target.exists():
            target.rename(replaced)
        partial.rename(target)
        shutil.rmtree(replaced, ignore_errors=True)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


class MonthFiles:
    """Writer of folder/month=YYYY-MM/part-N.parquet, with tables in the order of append()."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._buffers: dict[str, list[pa.Table]] = {}
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._rows: dict[str, int] = {}

    def append(self, month: str, table: pa.Table) -> None:
        """Add rows of a month; a full row group is written to disk."""
        buffer = self._buffers.setdefault(month, [])
        buffer.append(table)
        if sum(part.num_rows for part in buffer) >= ROWS_PER_GROUP:
            self._flush(month)

    def _flush(self, month: str) -> None:
        table = pa.concat_tables(self._buffers.pop(month, [])).unify_dictionaries()
        written = self._rows.get(month, 0)
        if month in self._writers and written % ROWS_PER_FILE + table.num_rows > ROWS_PER_FILE:
            self._writers.pop(month).close()
            written = (written // ROWS_PER_FILE + 1) * ROWS_PER_FILE
        if month not in self._writers:
            path = self._folder / f"month={month}" / f"part-{written // ROWS_PER_FILE:04d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writers[month] = pq.ParquetWriter(path, table.schema, compression="zstd", store_schema=False)
        self._writers[month].write_table(table, row_group_size=ROWS_PER_GROUP)
        self._rows[month] = written + table.num_rows

    def close(self) -> None:
        """Write the remaining rows and close every file."""
        for month in list(self._buffers):
            self._flush(month)
        for writer in self._writers.values():
            writer.close()


def run_program(main) -> None:
    """Run a main function; an InputError becomes one line on stderr and exit code 2."""
    try:
        main()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
