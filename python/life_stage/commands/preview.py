"""Preview of what a run reads of the source: rows kept and rejected, months, users, items, registered children.

The same mappings, columns and validation as in staging, by the project's macros, without a warehouse. Rules on other
months, superseded items and children, and consents come on top.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import duckdb

from life_stage import paths
from life_stage.engine.contract import TABLES, delivered, wrong_columns, wrong_mapping
from life_stage.engine.project_macros import PROJECT, SYNONYMS, project_macros, project_settings, source_contract
from life_stage.engine.source_tables import delivered_table, opened_tables

MAX_BYTES = 1_000_000_000  # of the action files; of more, some are read
MAX_ROWS = 10_000_000  # of a table of actions; of more, some are read
SECONDS_PER_ACTION, SECONDS_AT_LEAST = 40e-6, 40  # of a first run on two cores: bench/results/whole_runs_4_24.json
N_NAMED = 5  # files in a line
DESCRIBED = ("title", "category", "leaf_category", "brand", "size", "properties")
UNORDERED = {"preserve_insertion_order": "false"}
Parts = Sequence[dict[str, Any]]  # as contract.delivered gives them
ONE_PURCHASE = 0.31  # python -m life_stage.training.cross_validation on the public baby purchases
LEARNING_CURVE = PROJECT / "bench" / "results" / "learning_curve.json"


@dataclass
class Preview:
    """Figures of the source; `wrong` has messages with codes.

    rejected: rows by reason; described: share (0 to 1) of the items by attribute; labelled: users with one registered
    child and an action; actions_each: their median number of actions; expected: accuracy on simulated shoppers with as
    many training users, None if too few.
    """

    wrong: list[str] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    share_read: float = 1.0
    rows: int = 0
    kept: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    actions: dict[str, int] = field(default_factory=dict)
    unknown_words: list[str] = field(default_factory=list)
    months: list[str] = field(default_factory=list)
    users: int = 0
    items: int = 0
    known_items: float = 0.0
    described: dict[str, float] = field(default_factory=dict)
    children: int = 0
    labelled: int = 0
    actions_each: float = 0.0
    training: int = 0
    needed: int = 0
    expected: float | None = None
    minutes: float = 0.0

    def lines(self) -> Iterator[str]:
        """The figures for a reader."""
        yield from (f"WRONG     {message}" for message in self.wrong)
        if self.unread:
            named = ", ".join(self.unread[:N_NAMED]) + ", ..." * (len(self.unread) > N_NAMED)
            yield f"unread    {len(self.unread)} data files that no table reads: {named}"
        if self.rows:
            if self.share_read < 1:
                yield f"sample    {self.share_read:.0%} of the actions; their figures are of that part"
            yield f"actions   {self.rows:,} rows: {self.kept:,} kept{counts(self.rejected, ', rejected: ')}"
            yield f"          {counts(self.actions)}"
            if self.unknown_words:
                words = ", ".join(self.unknown_words)
                yield f"          unknown words of actions: {words}: add them to seeds/action_synonyms.csv"
            yield f"          {self.users:,} users, {len(self.months)} months: {self.months[0]} to {self.months[-1]}"
        if self.items:
            known = ", ".join(f"{share:.0%} with {name}" for name, share in self.described.items())
            yield f"items     {self.items:,}: {known or 'no attributes'}"
            yield f"          {self.known_items:.0%} of the actions on items are on these"
        if self.rows:
            yield f"children  {self.children:,} registered, {self.labelled:,} users with one child and an action"
            yield f"          {self.outlook()}"
            minutes = max(1, round(self.minutes))
            yield f"run       about {minutes} minute{'s' * (minutes > 1)} on two free cores for a first run"

    def outlook(self) -> str:
        """What the registered children allow."""
        if self.share_read < 1 and self.training < self.needed:
            return f"{self.training:,} training users in the part read, of {self.needed:,} needed"
        if self.training < self.needed:
            return (
                f"too few to train a model: {self.training:,} of {self.needed:,} training users"
                " (var training_min_users). A run checks the data and builds features and the checkout, without stages;"
                " var training_labels: age_words learns from users whose searches and titles name one age"
            )
        return (
            f"enough to train. Accuracy to expect: {ONE_PURCHASE:.0%} with one purchase a user (public baby purchases),"
            f" {self.expected:.0%} with 160 actions (simulated shoppers, 24 months); yours have {self.actions_each:.0f}"
        )


def counts(numbers: dict[str, int], before: str = "") -> str:
    """Numbers by name, as text; empty without any."""
    return before * bool(numbers) + ", ".join(f"{name} {number:,}" for name, number in numbers.items())


def preview(**given: object) -> Preview:
    """The figures of LIFE_STAGE_SOURCE, or of the tables of var source_schema, with their mappings.

    given: vars in place of those of dbt_project.yml.
    """
    settings = project_settings() | given
    found = Preview(needed=int(str(settings["training_min_users"])))
    try:
        with opened_source(settings) as connection:
            if settings["source_schema"]:
                parts = parts_of_tables(connection, str(settings["source_schema"]), found)
            else:
                parts = parts_of_files(found)
            if not found.wrong:
                read(connection, parts, found, settings)
    except ValueError as error:
        found.wrong.append(str(error))
    except duckdb.Error as error:  # its further lines have values
        what = str(error).partition("\n")[0].partition(":")[0]
        found.wrong.append(f"LS-SRC-006 a file of the source cannot be read ({what}): a run names it")
    if not found.wrong and not found.kept:
        found.wrong.append("LS-SRC-007 no row of actions is valid: see the reasons, and correct the mapping")
    if not settings["source_schema"]:
        found.unread = unread_files()
    return found


@contextmanager
def opened_source(settings: Mapping[str, object]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that reads the source as a run does: its files, or the tables of var source_schema."""
    with opened_tables() if settings["source_schema"] else duckdb.connect(config=UNORDERED) as connection:
        connection.execute("set enable_progress_bar = false; set TimeZone = 'UTC'")
        yield connection


def unread_files() -> list[str]:
    """Data files of the source that no table reads."""
    tables = (*TABLES, "consents", "requests", "answers")
    known = {name for table in tables for name in paths.source_files(table)[0]}
    data = (name for name in paths.files_within(paths.source()) if name.lower().endswith(paths.FORMATS))
    return [name for name in data if name not in known] if paths.source().is_dir() else []


def parts_of_tables(connection: duckdb.DuckDBPyConnection, schema: str, found: Preview) -> dict[str, Parts]:
    """The tables of a schema, or what their mappings select of others; large actions as a sample."""
    parts = {table: delivered_table(connection, schema, table) for table in TABLES}
    for table in ("actions", "items"):
        if not parts[table]:
            found.wrong.append(
                f"LS-SRC-001 table {schema}.{table} does not exist: create it, correct var source_schema, or map it by"
                " life-stage map"
            )
    found.wrong += [text for table in parts for text in wrong_tables(table, parts[table])]
    for part in parts["actions"] if not found.wrong else ():
        ((n_rows,),) = connection.sql(f"select count(*) from ({part['rows']})").fetchall()
        if n_rows > MAX_ROWS:
            found.share_read = MAX_ROWS / n_rows
            part["rows"] = f"select * from ({part['rows']}) using sample {100 * found.share_read} percent"
    return parts


def parts_of_files(found: Preview) -> dict[str, Parts]:
    """The files of each table, of actions beyond MAX_BYTES a part; none if something is wrong."""
    files = {}
    for table in TABLES:
        files[table], wrong = paths.source_files(table)
        found.wrong += wrong or wrong_mapping(table, files[table])
        found.files[table] = len(files[table])
    for table in ("actions", "items"):
        if not files[table] and not found.wrong:
            found.wrong.append(f"LS-SRC-001 {table} is missing in {paths.source()}: set LIFE_STAGE_SOURCE, or map it")
    if found.wrong:
        return {}
    found.wrong += [text for table in files for text in wrong_tables(table, delivered(table, files[table]))]
    sizes = {name: (paths.source() / name).stat().st_size for name in files["actions"]}
    step = max(1, -(-sum(sizes.values()) // MAX_BYTES))
    chosen = files["actions"][::step]
    found.share_read = sum(sizes[name] for name in chosen) / max(sum(sizes.values()), 1) if step > 1 else 1.0
    return {table: delivered(table, chosen if table == "actions" else files[table]) for table in files}


def wrong_tables(table: str, parts: Parts) -> list[str]:
    """Messages about columns of a table's parts."""
    found = []
    for part in parts:
        if part["types"]:
            found += wrong_columns(table, part["name"], part["types"], source_contract(table))
        else:
            found.append(f"LS-SRC-006 {part['name']} cannot be read: deliver it again, complete and in UTF-8")
    return found


def table_sql(macros: Mapping[str, Any], table: str, parts: Parts) -> str:
    """SQL of the rows of a table in the contract's columns."""
    selects = [
        str(macros["in_contract"](f"({part['rows']})", table, part["types"], part["source_file"])) for part in parts
    ]
    return " union all by name ".join(selects) or str(macros["empty_frame"](table))


def read(
    connection: duckdb.DuckDBPyConnection, parts: Mapping[str, Parts], found: Preview, settings: dict[str, object]
) -> None:
    """Fill in the figures."""
    macros = project_macros(**settings)
    connection.execute(f"""
        create temp table validated as
        with dated as (
            select *, {macros["moment"]("occurred_at")} as utc_time
            from ({table_sql(macros, "actions", parts["actions"])}) as delivered
        ),
        typed as (
            select {macros["typed_action_columns"](macros["plain_user_id_of"]("raw_actions.user_id"))}
            from dated as raw_actions
            left join {SYNONYMS} as synonyms on {macros["is_action_word"]()}
        )
        select
            *,
            {macros["action_rejection_reasons"]()} as reasons,
            case when action = 'search' then search_term else item_id end as object
        from typed
    """)

    def one(sql: str) -> Any:
        return connection.sql(sql).fetchall()[0][0]

    def by_name(sql: str) -> dict[str, int]:
        return dict(connection.sql(sql).fetchall())

    kept = "from validated where reasons is null"
    found.rows = one("select count(*) from validated")
    found.kept = one(f"select count(*) from (select distinct action_id, user_id, action, object {kept})")
    found.rejected = by_name("""
        select split_part(reasons, ' ', 1) as reason, count(*) from validated where reasons is not null
        group by all order by count(*) desc, reason
    """)
    if n_repeated := one(f"select count(*) {kept}") - found.kept:
        found.rejected["duplicate"] = n_repeated
    found.actions = by_name(f"select action, count(*) {kept} group by all order by count(*) desc, action")
    unknown = """
        select raw_action from validated where action = 'unknown' and raw_action is not null
        group by all order by count(*) desc, raw_action limit 5
    """
    found.unknown_words = [str(word)[:25] for (word,) in connection.sql(unknown).fetchall()]
    months = f"select distinct strftime(occurred_at, '%Y-%m') as month {kept} order by month"
    found.months = [month for (month,) in connection.sql(months).fetchall()] or ["none"]
    found.users = one(f"select count(distinct user_id) {kept}")
    found.minutes = (SECONDS_AT_LEAST + SECONDS_PER_ACTION * found.kept / found.share_read) / 60
    read_items(connection, macros, parts["items"], found)
    read_children(connection, macros, parts["children"], found)
    found.training = round(found.labelled * float(str(settings["training_share"])))
    if found.training >= found.needed:
        found.expected = expected_accuracy(found.training)


def read_items(connection: duckdb.DuckDBPyConnection, macros: dict[str, Any], parts: Parts, found: Preview) -> None:
    """Fill in the figures of the items."""
    connection.execute(f"""
        create temp table items as
        select {macros["id_of"]("item_id")} as item_id, {", ".join(f"nullif({n}, '') as {n}" for n in DESCRIBED)}
        from ({table_sql(macros, "items", parts)}) as delivered
    """)
    shares = ", ".join(f"count({name}) / greatest(count(*), 1)" for name in DESCRIBED)
    n_items, *known = connection.sql(f"select count(distinct item_id), {shares} from items").fetchall()[0]
    found.items, found.described = n_items, {n: s for n, s in zip(DESCRIBED, known, strict=True) if s}
    found.known_items = connection.sql("""
        select coalesce(avg(case when item_id in (select item_id from items) then 1.0 else 0.0 end), 0)
        from validated where reasons is null and item_id is not null
    """).fetchall()[0][0]


def read_children(connection: duckdb.DuckDBPyConnection, macros: dict[str, Any], parts: Parts, found: Preview) -> None:
    """Fill in the figures of the registered children, and what they allow."""
    create_labels(connection, macros, parts)
    ((found.children, found.labelled, found.actions_each),) = connection.sql("""
        select
            (select count(*) from children where user_id is not null and birth_date is not null),
            (select count(*) from labels where user_id in (select user_id from validated where reasons is null)),
            (
                select coalesce(median(n_actions), 0)
                from (
                    select count(*) as n_actions from validated
                    where reasons is null and user_id in (select user_id from labels) group by user_id
                )
            )
    """).fetchall()


def create_labels(connection: duckdb.DuckDBPyConnection, macros: dict[str, Any], parts: Parts) -> None:
    """Create children, the plausible registrations, and labels, the users with one registered child."""
    connection.execute(f"""
        create temp table children as
        select user_id, birth_date
        from
            (
                select
                    {macros["plain_user_id_of"]("user_id")} as user_id,
                    {macros["day"]("birth_date")} as birth_date,
                    cast(coalesce({macros["moment"]("registered_at")}, {macros["clock"]()}) as date) as known_on
                from ({table_sql(macros, "children", parts)}) as delivered
            ) as dated
        where birth_date between {macros["months_after"]("known_on", -240)} and {macros["months_after"]("known_on", 10)}
    """)
    connection.execute("""
        create temp table labels as
        select user_id from children where user_id is not null and birth_date is not null
        group by user_id having count(distinct birth_date) = 1
    """)


def missing_labels(**given: object) -> str | None:
    """The notice of a run that will train no model, as too few users have one registered child; None if it may.

    Only the children are read, so it takes less than a second. given: vars. What is wrong with the source is left to
    the run.
    """
    try:
        settings = project_settings() | given
        share, needed = float(str(settings["training_share"])), int(str(settings["training_min_users"]))
        if settings["training_labels"] != "registrations" or "://" in paths.source_directory():
            return None
        with opened_source(settings) as connection:
            if settings["source_schema"]:
                parts = delivered_table(connection, str(settings["source_schema"]), "children")
            else:
                parts = delivered("children", paths.source_files("children")[0])
            create_labels(connection, project_macros(**settings), parts)
            ((n_users,),) = connection.sql("select count(*) from labels").fetchall()
    except Exception:
        return None
    if round(n_users * share) >= needed:
        return None
    return (
        f"LS-ML-001 no model will be trained: {n_users:,} users have one registered child, {share:.0%} of them train,"
        f" training_min_users is {needed:,}. The run checks the data and builds features and the checkout, without"
        " stages; var training_labels: age_words also trains on users whose searches and titles name one age"
    )


def expected_accuracy(n_training: int) -> float:
    """Accuracy with at most as many training users, on simulated shoppers."""
    runs = json.loads(LEARNING_CURVE.read_text())["figures"]["runs"]
    fewest = min(run["n_training_users"] for run in runs)
    reached = max(run["n_training_users"] for run in runs if run["n_training_users"] <= max(n_training, fewest))
    found = [run["figures"]["one-child accuracy"] for run in runs if run["n_training_users"] == reached]
    return sum(found) / len(found)
