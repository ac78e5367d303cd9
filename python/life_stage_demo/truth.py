"""Writer of the simulated families: the truth, and the registrations that the shop has."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .catalogue import Catalogue
from .contract import CHILDREN_SCHEMA
from .families import NO_CHILD
from .months import month_start, month_text
from .simulation import Chunk, Run


class FamilyFiles:
    """Collector of children.parquet (registered by the last month's end) and truth/, chunk by chunk."""

    def __init__(self, folder: Path, run: Run):
        self._folder, self._run = folder, run
        self._registered, self._children, self._users = [], [], []

    def append(self, chunk: Chunk) -> None:
        """Add the families of one chunk."""
        end = np.datetime64(month_start(self._run.start + self._run.n_months), "s")
        registered = chunk.registered
        in_time = registered["registered_at"] < end
        columns = {name: registered[name][in_time] for name in CHILDREN_SCHEMA.names}
        self._registered.append(pa.table(columns).cast(CHILDREN_SCHEMA))
        names = ("user_id", "child_no", "birth_date")
        self._children.append(
            pa.table({name: chunk.children[name] for name in names}).cast(
                pa.schema([CHILDREN_SCHEMA.field(name) for name in names])
            )
        )
        nephew = chunk.users["nephew_birth_month"]
        births = [None if birth == NO_CHILD else month_text(birth) for birth in nephew]
        self._users.append(pa.table({**chunk.users, "nephew_birth_month": pa.array(births, type=pa.string())}))

    def write(self, catalogue: Catalogue) -> None:
        """Write all files except the actions."""
        truth = self._folder / "truth"
        truth.mkdir(exist_ok=True)
        pq.write_table(catalogue.table(), self._folder / "items.parquet", store_schema=False)
        pq.write_table(pa.concat_tables(self._registered), self._folder / "children.parquet", store_schema=False)
        pq.write_table(pa.concat_tables(self._children), truth / "children.parquet", store_schema=False)
        pq.write_table(pa.concat_tables(self._users), truth / "users.parquet", store_schema=False)
        np.savez_compressed(truth / "likelihood.npz", **catalogue.likelihood())
        run = self._run
        facts = {
            "users": run.n_users,
            "seed": run.seed,
            "start": month_text(run.start),
            "months": run.n_months,
            "through": month_text(run.start + run.n_months - 1),
            "parameters": run.parameters.as_dict(),
        }
        (truth / "parameters.json").write_text(json.dumps(facts, indent=2) + "\n")
