"""Checks of a delivery: what share of it is rejected or unreadable, and whether it is unlike the months around it.

They read counts of rows that were validated in SQL, about a thousand. A check of a share needs 100 rows, of which 20
are rejected or unreadable.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from statistics import median
from typing import Any, NamedTuple

import pyarrow as pa

MIN_ROWS, MIN_FOUND = 100, 20
UNREADABLE_PART, UNKNOWN_PART = 0.1, 0.02  # of rejections_max_share, for a column and for the words of actions
NEAR_MONTHS, MIN_NEAR = 6, 3  # months on either side that a share is compared with, and the fewest of them
FACTOR, MIN_EXPECTED, MAX_UNEXPECTED = 3, 20, 60  # rows; a share may be a third to three times the expected one
COLUMNS = {  # that a delivery is checked by, except ids
    "actions": ("quantity", "dwell_seconds", "price"),
    "children": ("child_no", "registered_at", "birth_date"),
    "items": ("properties", "price"),
}
IDS = {"actions": ("action_id", "user_id", "item_id"), "children": ("user_id",), "items": ("item_id",)}
ALL_MONTHS = date(1970, 1, 1)  # the month of a share of all months
ACTION_WORDS = "known action"  # the check of the words, beside those of columns
DELIVERY_COUNTS = "n_rows, reasons, readings, example, month, file, action, device, read_at"  # of source_row_counts
SCHEMA = pa.schema(
    [
        ("code", pa.string()),
        ("measure", pa.string()),
        ("value", pa.string()),
        ("month", pa.date32()),
        ("n_rows", pa.int64()),
        ("n_found", pa.int64()),
        ("n_expected", pa.float64()),
        ("is_wrong", pa.bool_()),
        ("message", pa.string()),
    ]
)


class Rows(NamedTuple):
    """Rows of a delivery that are alike: n of them.

    reason: why they are rejected; readings: +name of each optional column that was read, -name of each that is given
    but unreadable; first and last: the least and the greatest example of what was given. Month, file, action and device
    are those of actions; is_new: of the newest delivery.
    """

    n: int
    reason: str | None
    readings: str | None
    first: str | None = None
    last: str | None = None
    month: date | None = None
    file: str | None = None
    action: str | None = None
    device: str | None = None
    is_new: bool = True

    def has(self, reading: str) -> bool:
        """True if the readings have this one."""
        return reading in (self.readings or "").split()


@dataclass(frozen=True)
class Check:
    """A check: the rows that were found among all rows; month and n_expected: of a share of a month."""

    code: str
    measure: str
    value: str
    month: date | None
    n_rows: int
    n_found: int
    n_expected: float | None
    is_wrong: bool
    message: str | None  # of a check that failed


def rows_of_actions(counts: Iterable[Sequence]) -> list[Rows]:
    """Rows of actions from source_row_counts (DELIVERY_COUNTS), without ignored ones."""
    counts = [count for count in counts if count[1] != "action_ignored"]
    newest = max((str(count[-1]) for count in counts), default="")
    return [
        Rows(int(n), reasons, readings, example, example, _day(month), file, action, device, str(read_at) == newest)
        for n, reasons, readings, example, month, file, action, device, read_at in counts
    ]


def rows_of_table(counts: Iterable[Sequence]) -> list[Rows]:
    """Rows of children or items. counts: n, reason, readings, first, last."""
    return [Rows(int(count[0]), *count[1:]) for count in counts]


def delivery_checks(counts: Any, reasons: Any, options: Mapping[str, str]) -> pa.Table:
    """The checks of the newest delivery of actions (SCHEMA).

    counts, reasons: relations of the tables; options: `max_share`, var rejections_max_share.
    """
    remedies = dict(reasons.filter("table_name = 'actions'").project("reason, remedy").fetchall())
    rows = rows_of_actions(counts.project(DELIVERY_COUNTS).fetchall())
    found = checks_of_actions(rows, remedies, float(options["max_share"]))
    return pa.Table.from_pylist([asdict(check) for check in found], SCHEMA)


def _day(value: object) -> date:
    """A date, given as one, as a time or as text."""
    return date.fromisoformat(str(value)[:10])


def failed_delivery(
    table: str, counts: Iterable[Sequence], remedies: Mapping[str, str], max_share: float, *, shifts_fail: bool = True
) -> list[str]:
    """The message of the gravest check that failed, with the number of others; none if no check failed.

    counts: those of rows_of_actions or rows_of_table; remedies: {rejection reason: remedy}; max_share: var
    rejections_max_share; shifts_fail: a share unlike the months around it fails.
    """
    if table == "actions":
        found = checks_of_actions(rows_of_actions(counts), remedies, max_share)
    else:
        found = checks_of_rows(table, rows_of_table(counts), remedies, max_share)
    failed = [check for check in found if check.is_wrong and (shifts_fail or check.code != "LS-SRC-010")]
    failed.sort(key=lambda check: (check.code != "LS-SRC-009", -check.n_found, check.message))
    more = f"; {len(failed) - 1} more checks failed" if len(failed) > 1 else ""
    return [f"{failed[0].message}{more}"] if failed else []


def failed_ids(month: date, n_rows: int, n_found: int, max_share: float) -> list[str]:
    """The message if too many actions of a month share their id with another action, else none."""
    if int(n_rows) < MIN_ROWS or int(n_found) <= max_share * int(n_rows):
        return []
    return [
        f"LS-SRC-007 {n_found} of {n_rows} rows in {_day(month):%Y-%m} share their action_id with another action: give "
        "each action an id of its own, or allow more by rejections_max_share; the month was not written"
    ]


def failed_fit(shares: Iterable[Sequence], min_fit: float) -> list[str]:
    """The message of the newest month of the first measure in which tables of the source do not fit; none if all do.

    shares: rows (measure, month, n_all, n_found, share_before) of source_fit; min_fit: var rejections_min_fit.
    """
    wrong = []
    for measure, month, *counts, share_before in shares:
        n_all, n_found = map(int, counts)
        n_expected = float(share_before or 0) * n_all
        # Where users buy once, few are seen before in any month.
        is_low = measure != "users seen before" and n_found < min_fit * n_all
        if n_all >= MIN_FOUND and (is_low or (n_expected >= MIN_FOUND and n_found < n_expected / 2)):
            wrong.append((measure, _day(month), n_all, n_found))
    if not wrong:
        return []
    first = min(measure for measure, *_ in wrong)
    _, month, n_all, n_found = max(row for row in wrong if row[0] == first)
    in_month = "" if month == ALL_MONTHS else f" in {month:%Y-%m}"
    return [
        f"LS-SRC-011 {n_found} of {n_all} {first}{in_month}: the ids of the tables may be written differently, or a "
        f"table is incomplete; rejections_min_fit is {min_fit}; nothing was published"
    ]


def checks_of_actions(rows: Sequence[Rows], remedies: Mapping[str, str], max_share: float) -> list[Check]:
    """The checks of the newest delivery of actions, of which rows of earlier ones are the months around."""
    newest = [row for row in rows if row.is_new]
    return checks_of_rows("actions", newest, remedies, max_share) + checks_of_shares(rows)


def checks_of_rows(table: str, rows: Sequence[Rows], remedies: Mapping[str, str], max_share: float) -> list[Check]:
    """Checks of the rejected rows by month, file and action or of a whole table, and of the values of each column."""
    if table == "actions":
        groups = {
            "month": [f"{row.month:%Y-%m}" for row in rows],
            "file": [row.file for row in rows],
            "action": [row.action for row in rows],
        }
    else:
        groups = {"table": [table] * len(rows)}
    found = [
        _check_of_group(table, measure, value, group, remedies, max_share)
        for measure, values in groups.items()
        for value, group in _grouped(values, rows).items()
        if value not in (None, "unknown")
    ]
    for column in (*IDS[table], *COLUMNS[table]):
        read, unread = ([row for row in rows if row.has(f"{sign}{column}")] for sign in "+-")
        found += _check_of_column(table, column, read, unread, max_share)
    if table == "actions":
        unknown = [row for row in rows if row.action == "unknown"]
        found += _check_of_column(
            table, ACTION_WORDS, [row for row in rows if row.action != "unknown"], unknown, max_share
        )
    return found


def _grouped(keys: Iterable[object], rows: Iterable[Rows]) -> dict[object, list[Rows]]:
    """The rows by key."""
    found = defaultdict(list)
    for key, row in zip(keys, rows, strict=True):
        found[key].append(row)
    return found


def _check_of_group(
    table: str, measure: str, value: str, rows: list[Rows], remedies: Mapping[str, str], max_share: float
) -> Check:
    """The check of the rejected rows of a month, a file, an action or a table."""
    by_reason = Counter()
    for row in rows:
        if row.reason is not None:
            by_reason[row.reason] += row.n
    n_rows, n_found, message = sum(row.n for row in rows), by_reason.total(), None
    is_wrong = is_too_much(n_found, n_rows, max_share)
    if is_wrong:
        reason = min(by_reason, key=lambda name: (-by_reason[name], name))
        shown = examples(row for row in rows if row.reason == reason)
        such_as = f" (such as {shown})" if shown else ""
        remedy = remedies.get(reason.split(" ")[0], "")
        limit = f"; rejections_max_share is {max_share}"
        message = (
            f"LS-SRC-007 {n_found} of {n_rows} {table} in {value} would be rejected, "
            f"most often as {reason}{such_as}: {remedy}{limit}"
        )
    return Check("LS-SRC-007", measure, value, None, n_rows, n_found, None, is_wrong, message)


def _check_of_column(table: str, column: str, read: list[Rows], unread: list[Rows], max_share: float) -> list[Check]:
    """The check of the values of a column, or of the words of actions; none without a value."""
    n_found = sum(row.n for row in unread)
    n_rows, is_id = n_found + sum(row.n for row in read), column in IDS[table]
    limit, message = f"; rejections_max_share is {max_share}", None
    if not n_rows:
        return []
    if is_id:
        is_wrong = n_found > 0
    else:
        is_wrong = is_too_much(n_found, n_rows, max_share, UNKNOWN_PART if column == ACTION_WORDS else UNREADABLE_PART)
    if is_wrong and is_id:
        message = (
            f"LS-SRC-009 {n_found} values of {table}.{column} lost digits, as in 1.2345E+17: export the column as text"
        )
    elif is_wrong and column == ACTION_WORDS:
        shown = examples(unread)
        message = (
            f"LS-SRC-007 {n_found} of {n_rows} actions are unknown, such as {shown}: add the words to "
            f"seeds/action_synonyms.csv, or name the log of the numbers by var source_action_codes{limit}"
        )
    elif is_wrong:
        message = (
            f"LS-SRC-007 {n_found} of {n_rows} values of {table}.{column} are unreadable: "
            f"give them in a form of docs/data_contract.md{limit}"
        )
    code = "LS-SRC-009" if is_id else "LS-SRC-007"
    return [Check(code, "column", column, None, n_rows, n_found, None, is_wrong, message)]


def is_too_much(n_found: int, n_rows: int, max_share: float, part: float = 1) -> bool:
    """True if more rows are found than a part of rejections_max_share; a share of 1 allows all."""
    limit = part * max_share if max_share < 1 else 1
    return n_rows >= MIN_ROWS and n_found >= MIN_FOUND and n_found > limit * n_rows


def examples(rows: Iterable[Rows]) -> str:
    """The first and the last example of the rows; empty without one."""
    given = {text for row in rows for text in (row.first, row.last) if text is not None}
    return ", ".join(sorted({min(given), max(given)})) if given else ""


def checks_of_shares(rows: Sequence[Rows]) -> list[Check]:
    """Each action, device, reason and unreadable column of the months of new rows, against the months around them.

    The share of a month's rows is compared with the median of up to six months on either side.
    """
    n_by_month, valued, new_months = Counter(), defaultdict(Counter), {row.month for row in rows if row.is_new}
    for row in rows:
        n_by_month[row.month] += row.n
        values = [("action", row.action), ("device", row.device), ("reason", row.reason)]
        values += [("unreadable column", name) for name in COLUMNS["actions"] if row.has(f"-{name}")]
        for measure, value in values:
            if value is not None:
                valued[measure, value][row.month] += row.n
    return [
        _check_of_share(measure, value, month, n_by_month, found, near)
        for (measure, value), found in valued.items()
        for month in sorted(new_months)
        if len(near := [other for other in n_by_month if 0 < _distance(month, other) <= NEAR_MONTHS]) >= MIN_NEAR
    ]


def _distance(month: date, other: date) -> int:
    """The number of months between two months."""
    return abs((month.year - other.year) * 12 + month.month - other.month)


def _check_of_share(
    measure: str, value: str, month: date, n_by_month: Counter, found: Counter, near: list[date]
) -> Check:
    """The check of a share of a month. found: rows with the value, by month; near: the months around."""
    n_rows, n_found, message = n_by_month[month], found[month], None
    n_expected = n_rows * median(found[other] / n_by_month[other] for other in near)
    if n_expected >= MIN_EXPECTED:
        is_wrong = n_found > FACTOR * n_expected or n_found < n_expected / FACTOR
    else:
        is_wrong = measure != "device" and n_found > MAX_UNEXPECTED  # a device may be new
    if is_wrong:
        in_month, n_likely = f"{month:%Y-%m}", int(n_expected + 0.5)
        message = (
            f"LS-SRC-010 {n_found} of {n_rows} rows in {in_month} have the {measure} {value}, {n_likely} are expected "
            "by the months around it: compare the delivery with them; if it is right, run once with "
            "rejections_on_shift: warn"
        )
    return Check("LS-SRC-010", measure, value, month, n_rows, n_found, n_expected, is_wrong, message)
