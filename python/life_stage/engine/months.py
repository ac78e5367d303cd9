"""Months of monthly tables: which ones are pending, and the hashes of what they were computed from.

Functions of dbt's Jinja context (`modules.life_stage`), called by macros/monthly.sql, recursive_monthly.sql and
unchanged.sql. A row is the dictionary of a target month: month (YYYY-MM-DD), input_hash (None: the row only serves to
create the empty table), and further placeholders of the model's SQL. A node is an entry of dbt's graph.
"""

import hashlib
import re
from typing import Any

Row = dict[str, Any]
Node = dict[str, Any]
DECEMBER = "-12-"


def md5(text: str) -> str:
    """Hash of a text, in hex."""
    return hashlib.md5(text.encode()).hexdigest()


def with_retention(rows: list[Row], built: dict[str, str], first: str) -> list[Row]:
    """The rows without months before `first`, the first that retention left; those that are built stay as they are."""
    kept = []
    for row in rows:
        if row["input_hash"] is None or row["month"] >= first:
            kept.append(row)
        elif row["month"] in built:
            kept.append(row | {"input_hash": built[row["month"]], "is_archived": True})
    return kept or [rows[-1] | {"input_hash": None}]


def with_cumulative_hashes(rows: list[Row]) -> list[Row]:
    """The rows with hashes that cover all months before, and with `previous_month`.

    A month of a recursive table counts as built only if its whole history is unchanged, so that a killed run never
    leaves later months that look valid.
    """
    chained, input_hash, before = [], "", "1900-01-01"
    for row in rows:
        if row["input_hash"] is not None:
            input_hash = row["input_hash"] if row.get("is_archived") else md5(input_hash + row["input_hash"])
        chained.append(row | {"previous_month": before, "input_hash": input_hash})
        before = row["month"]
    return chained


def to_update(rows: list[Row], built: dict[str, str], built_state: dict[str, str]) -> tuple[list[Row], list[str]]:
    """The rows after the newest usable state before the first change, and the months that change.

    Months before the change only rebuild the state.
    """
    first = next((n for n, row in enumerate(rows) if row["input_hash"] and stale(row, built)), len(rows))
    changed = [row["month"] for row in rows[first:] if row["input_hash"]]
    usable = [n for n, row in enumerate(rows[:first], 1) if not stale(row, built_state)]
    return (rows[max(usable, default=0) :] if changed else []), changed


def stale(row: Row, built: dict[str, str]) -> bool:
    """Whether the month is not built from its inputs."""
    return built.get(row["month"]) != row["input_hash"]


def pending(rows: list[Row], built: dict[str, str]) -> list[Row]:
    """The rows of an independent table that are to be built."""
    return [row for row in rows if row["input_hash"] is not None and stale(row, built)]


def sql_of_months(sql: str, rows: list[Row]) -> str:
    """The model's SQL with placeholders replaced by the values of its first month, and by the list of its months.

    A value may look like a placeholder, as the name of a file does.
    """
    months = ", ".join(f"date '{row['month']}'" for row in rows)
    values = {f"__{name}__": str(value) for name, value in {**rows[0], "pending_months": months}.items()}
    return re.sub("|".join(values), lambda found: values[found[0]], sql)


def keeps_state(month: str) -> bool:
    """Whether the carried state of a month stays: that of every December does, so that a correction restarts there."""
    return DECEMBER in month


def is_derived(node: Node) -> bool:
    """Whether a table by month is derived from other tables of the warehouse and can be rebuilt at any time."""
    return "reads" in node["config"]["meta"]


def is_always_built(node: Node) -> bool:
    """Whether a node reads more than its parents: the shop, the clock (meta.always_built), its own last state."""
    reads_source = any(".shop." in name for name in node["depends_on"]["nodes"] if name.startswith("source."))
    return reads_source or node["config"]["meta"].get("always_built") is True


def parents_of(node: Node, nodes: dict[str, Node]) -> list[Node]:
    """The nodes that a node reads."""
    return [nodes[name] for name in sorted(node["depends_on"]["nodes"]) if name in nodes]


def inputs_by_month(node: Node, nodes: dict[str, Node], reads: dict[str, Any] | None = None) -> dict[str, list]:
    """What determines a month of a derived table: `texts`, `tables`, and `months` ([monthly parent, which months]).

    meta.reads tells it for parents that are not read in the same month: `before` the month, a number of months before
    it, or `never`: the month's own input hash covers it. A view stands for its parents. Tables of months with
    meta.calendar determine which months there are, and nothing in them.
    """
    reads = node["config"]["meta"]["reads"] if reads is None else reads
    found: dict[str, list] = {"texts": [node["raw_code"]], "tables": [], "months": []}
    for parent in parents_of(node, nodes):
        kind, which = parent["config"]["materialized"], reads.get(parent["name"], "same")
        if which == "never" or parent["config"]["meta"].get("calendar"):
            continue
        if parent["resource_type"] == "seed":
            found["texts"].append(parent["checksum"]["checksum"])
        elif kind in ("monthly", "recursive_monthly"):
            found["months"].append([parent["name"], which])
        elif kind == "view":
            of_view = inputs_by_month(parent, nodes, {})
            found["texts"] += of_view["texts"]
            found["tables"] += of_view["tables"]
            found["months"] += [[name, reads.get(name, which)] for name, _ in of_view["months"]]
        else:
            found["tables"].append(parent["name"])
    return found


def with_input_hashes(rows: list[Row], fixed: list, parents: list[list], built: dict[str, dict[str, str]]) -> list[Row]:
    """The rows with hashes of what is fixed and of the months of the parents; built: {parent: {month: hash}}."""
    hashed = []
    for row in rows:
        if row["input_hash"] is None:
            continue
        parts = [*fixed, row["input_hash"]]
        for name, which in parents:
            earlier = sorted(month for month in built[name] if month < row["month"])
            read = [row["month"]] if which == "same" else earlier if which == "before" else earlier[-which:]
            parts += [built[name].get(month) for month in read]
        hashed.append(row | {"input_hash": md5("\n".join(map(str, parts)))})
    return hashed or rows


def with_months_before(hashes: dict[str, str], built: dict[str, str], absent: list[str], kept: str) -> dict[str, str]:
    """Input hash of every month to stage: its own, then those of the two months before, in which ids are looked for.

    hashes: the own ones of the months in the source; built: the recorded ones. A month that is absent from the source,
    or before `kept`, stays as it is; another one without rows is emptied.
    """
    stays = {month for month in built if month not in hashes and (month in absent or month < kept)}
    own = {month: built[month].split("|")[0] for month in stays} | hashes
    targets = {month: built[month] for month in stays}
    for month, input_hash in hashes.items():
        before = [own.get(month_before(month, n), "") for n in (1, 2)]
        targets[month] = f"{input_hash}|{md5(repr(before))[:12]}"
    return targets | {month: "no rows" for month in built if month not in targets}


def month_before(month: str, n: int) -> str:
    """The month n months before, both as YYYY-MM-DD."""
    year, index = divmod(int(month[:4]) * 12 + int(month[5:7]) - 1 - n, 12)
    return f"{year:04}-{index + 1:02}-01"
