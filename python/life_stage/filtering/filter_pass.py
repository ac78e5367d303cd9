"""A recursive model in one pass over batches of users: all pending months of a user at once.

macros/filter_pass.sql calls `run` and then replaces the months by the rows of the pass, in one transaction. Rows of
finished batches are stored, so that a killed pass continues with the users who have none.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from life_stage.filtering.birth_months import Ages
from life_stage.filtering.pass_grid import Month

USERS_PER_BLOCK = 1_000  # arrays of users x grid points remain in the processor's cache
SECONDS_BETWEEN_LINES = 10
Arithmetic = Callable[[pa.Array, pa.Table, pa.Table], tuple[pa.Table, pa.Table]]


@dataclass(frozen=True)
class Plan:
    """What one pass computes.

    months: month (YYYY-MM-DD), model_version, is_published, is_stored, and `rows`, the SQL of its input; stages,
    age_bins: name, from_month, to_month; parameters: {name: SQL}; settings: further arguments of the arithmetic;
    state: SQL of the state before the first month; gathered, published, stored: tables of the pass, for input,
    published rows and state rows.
    """

    model: str
    months: list[dict]
    stages: list[dict]
    age_bins: list[dict]
    parameters: dict[str, str]
    settings: dict[str, str]
    state: str
    gathered: str
    published: str
    stored: str
    users_per_batch: int

    def arithmetic(self, session: duckdb.DuckDBPyConnection, make: Callable[..., Arithmetic]) -> Arithmetic:
        """The arithmetic with the parameters of all models of the months."""
        divisions = [division(rows) for rows in (self.age_bins, self.stages)]
        months = [
            Month(number_of(row["month"]), row["model_version"], row["is_published"], row["is_stored"])
            for row in self.months
        ]
        parameters = {name: session.sql(sql).to_arrow_table() for name, sql in self.parameters.items()}
        return make(Ages(*divisions[0], *divisions[1]), months, parameters, **self.settings)


def run(session: duckdb.DuckDBPyConnection, make: Callable[..., Arithmetic], plan_text: str) -> None:
    """Fill the tables of a pass; make: its arithmetic, e.g. birth_month_pass.Pass; plan_text: JSON of the Plan.

    Raises ValueError (LS-STA-004) before it stores posteriors that are no distribution.
    """
    plan = Plan(**json.loads(plan_text))
    progress = Progress(plan.model)
    gather(session, plan, progress)
    arithmetic, users = plan.arithmetic(session, make), pending_users(session, plan)
    for start in range(0, len(users), plan.users_per_batch):
        progress.show(f"{start:,} of {len(users):,} users")
        batch = users.slice(start, plan.users_per_batch)
        published, stored = of_batch(session, plan, batch, arithmetic)
        check(published, plan.model)
        store(session, {plan.published: rounded(published), plan.stored: stored})


class Progress:
    """Lines about the progress, at most one every ten seconds."""

    def __init__(self, model: str) -> None:
        self.model, self.start, self.shown = model, time.monotonic(), time.monotonic()

    def show(self, text: str) -> None:
        """Print the text and the seconds so far."""
        now = time.monotonic()
        if now - self.shown >= SECONDS_BETWEEN_LINES:
            self.shown = now
            print(f"    {self.model}: {text}, {now - self.start:.0f} s", file=sys.stderr, flush=True)


def division(rows: list[dict]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and edges of a division of age."""
    return tuple(row["name"] for row in rows), (rows[0]["from_month"], *(row["to_month"] for row in rows))


def number_of(month: str) -> int:
    """Months since January 1970."""
    return int(np.datetime64(month, "M").astype(int))


def gather(session: duckdb.DuckDBPyConnection, plan: Plan, progress: Progress) -> None:
    """Copy the input month by month, sorted by user, so that a batch reads little and a view is computed once."""
    done = {str(month) for (month,) in session.sql(f"select distinct month from {plan.gathered}").fetchall()}
    pending = [row for row in plan.months if row["month"] not in done]
    for n_months, row in enumerate(pending):
        progress.show(f"input of {n_months} of {len(pending)} months")
        session.execute(f"insert into {plan.gathered} by name {row['rows']} order by user_id")


def pending_users(session: duckdb.DuckDBPyConnection, plan: Plan) -> pa.Array:
    """Sorted ids of the users whose rows are not stored yet."""
    users = f"select user_id from {plan.gathered} union select user_id from ({plan.state})"
    missing = f"{users} except select user_id from {plan.published} order by user_id"
    return session.sql(missing).to_arrow_table()["user_id"].combine_chunks()


def of_batch(
    session: duckdb.DuckDBPyConnection, plan: Plan, users: pa.Array, arithmetic: Arithmetic
) -> tuple[pa.Table, pa.Table]:
    """Published rows and state rows of a batch of users, computed block by block."""
    bounds = [users[0].as_py(), users[-1].as_py()]
    rows, state = (
        session.sql(f"select * from ({sql}) where user_id between ? and ? order by user_id", params=bounds)
        .to_arrow_table()
        .combine_chunks()
        for sql in (f"from {plan.gathered}", plan.state)
    )
    starts = [*range(0, len(users), USERS_PER_BLOCK), len(users)]
    first_row, first_state = (
        np.searchsorted(pc.index_in(table["user_id"], value_set=users).to_numpy(), starts) for table in (rows, state)
    )
    with np.errstate(invalid="ignore", divide="ignore"):  # check finds what is no distribution
        found = [
            arithmetic(users[slice(*of_users)], rows[slice(*of_rows)], state[slice(*of_state)])
            for of_users, of_rows, of_state in zip(*map(pairwise, (starts, first_row, first_state)), strict=True)
        ]
    published, stored = map(pa.concat_tables, zip(*found, strict=True))
    return published, stored


def check(published: pa.Table, identifier: str) -> None:
    """Raise ValueError where posteriors are no distribution."""
    columns = [published[name].to_numpy() for name in published.column_names if name.startswith("p_")]
    wrong = ~(np.abs(sum(columns) - 1) < 1e-9) if columns else np.zeros(0, bool)
    if wrong.any():
        month, n_wrong = str(published["month"].to_numpy()[wrong].min())[:7], wrong.sum()
        raise ValueError(
            f"LS-STA-004 {n_wrong} posteriors of {month} in {identifier} do not sum to one, because the newest model or"
            " the month's log-likelihoods are invalid: restore a backup; the month was not written"
        )


def rounded(rows: pa.Table) -> pa.Table:
    """The rows with every double rounded to six decimals, as in the SQL of a month."""
    return pa.table(
        [
            pc.round(column, 6, "half_towards_infinity") if column.type == pa.float64() else column
            for column in rows.columns
        ],
        rows.column_names,
    )


def store(session: duckdb.DuckDBPyConnection, tables: dict[str, pa.Table]) -> None:
    """Append the rows to the tables, in one transaction."""
    session.execute("begin")
    try:
        for name, rows in tables.items():
            session.register("rows_of_batch", rows)
            session.execute(f"insert into {name} by name select * from rows_of_batch")
            session.unregister("rows_of_batch")
    except BaseException:
        session.execute("rollback")
        raise
    session.execute("commit")
