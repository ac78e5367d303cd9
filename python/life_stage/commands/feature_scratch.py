"""The trial of a feature group beside a warehouse: its rows, and the features that the project's models count of them.

A database in memory has views of the tables that a group may read in the warehouse, which is only read.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import duckdb
import pandas as pd

from life_stage import paths
from life_stage.engine.feature_checks import FOLDER, READABLE, SHAPES
from life_stage.engine.project_macros import project_macros

# The project's models that count the features of groups, and number those of the training rows; in their order.
COUNTING = ("item_feature_index", "term_feature_index", "observed_features", "user_month_features")
NUMBERING = ("training_vocabulary", "design_matrix")
FED = dict(zip(("item_features", "search_term_features", "user_features"), SHAPES, strict=True))
TOLERANCE = 1e-9
TYPES = {"month": "date", "value": "double"}  # others: varchar
# A group's rows of the months through the cut, or of items and terms seen by then, must not depend on later months.
IS_KNOWN = {
    "item_id": "item_id in (select item_id from stg_actions)",
    "search_term": "search_term in (select search_term from stg_actions)",
    "user_id": "month <= date '{cut}'",
}
CHANGED = """
    with
        complete as (select *, true as is_there from complete_rows where {is_known}),
        cut as (select *, true as is_there from cut_rows where {is_known})
    select feature from complete full join cut using ({keys})
    where complete.is_there is null or cut.is_there is null {or_differs}
    limit 1
"""
# A group that is in production already is compared with production without it: without the names that it had there.
NAMES_BEFORE = """
    select distinct concat(feature, suffix) as feature
    from {production}."{group}" cross join (values (''), (':collect'), (':cart'), (':purchase')) as kinds (suffix)
"""
FEATURES = """
    select rows.row_no, rows.split, found.feature, found.n_days, found.value
    from (
        from user_month_features
        union all by name
        from {production}.user_month_features where feature not in (select feature from names_before)
    ) as found
    inner join rows on found.user_id = rows.user_id and found.month = rows.month
"""
OF_OTHERS = """
    select min(feature) from user_month_features
    where feature not in (select feature from names_before)
    and feature in (select feature from {production}.user_month_features)
"""
WRONG_ROWS = "user_id is null or month is null or month <> date_trunc('month', month)"


class TrialError(Exception):
    """A message with its code."""


def one_line(error: object) -> str:
    """The message in one line, from its code on if it has one."""
    return re.sub(r"^.*?(?=LS-[A-Z]+-[0-9])", "", " ".join(str(error).split()))


class Scratch:
    """A database in memory with views of the tables that a group may read: READABLE and seeds.

    sql: of the group and of COUNTING and NUMBERING, on the database `memory`.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, warehouse: Path, group: str, sql: Mapping[str, str]
    ) -> None:
        self.connection, self.production = connection, f'"{warehouse.stem}".main'
        self.group, self.file, self.sql = group, f"{FOLDER}/{group}.sql", sql
        connection.execute(f'attach {paths.sql_literal(warehouse)} as "{warehouse.stem}" (read_only)')
        connection.execute("set timezone = 'UTC'; attach ':memory:' as elsewhere")
        columns = "select table_name, list(column_name) from information_schema.columns where table_catalog = ?"
        found = connection.execute(f"{columns} and table_schema = 'main' group by table_name", [warehouse.stem])
        self.tables = dict(found.fetchall())
        self.readable = self.tables.keys() & {*READABLE, *(file.stem for file in Path("seeds").glob("*.csv"))}
        self.show()

    def row(self, sql: str) -> tuple:
        """The only row of a query."""
        return self.connection.sql(sql).fetchall()[0]

    def show(self, **only: str) -> None:
        """Show the tables that a group may read; only: conditions on rows, by column or table."""
        for table in self.readable:
            conditions = [condition for name, condition in only.items() if name in (table, *self.tables[table])]
            where = f" where {' and '.join(conditions)}" if conditions else ""
            self.connection.execute(f'create or replace view "{table}" as from {self.production}."{table}"{where}')

    def rows_of_group(self, table: str) -> list[str]:
        """Make a table of the group's rows; returns its columns. Raises TrialError if its SQL fails."""
        self.connection.execute("use elsewhere")  # a table that is named without ref() is not found
        try:
            self.connection.execute(f"create or replace temp table {table} as {self.sql[self.group]}")
        except duckdb.Error as error:
            if "Table with name" in str(error):
                raise TrialError(f"LS-FEA-007 {self.file} reads a table without ref(): {one_line(error)}") from None
            raise TrialError(f"LS-FEA-011 {self.file} fails: {one_line(error)}") from None
        finally:
            self.connection.execute("use memory")
        return self.connection.table(table).columns

    def feed(self, shape: tuple[str, ...]) -> None:
        """Fill the tables that COUNTING reads with the group's rows, by the checks of a run."""
        macros = project_macros()
        checked = {"feature": macros["named_feature"](self.group), "value": macros["only_value"](self.group)}
        for table, columns in FED.items():
            typed = ", ".join(f"{column} {TYPES.get(column, 'varchar')}" for column in columns)
            self.connection.execute(f"create table {table} ({typed})")
        (table,) = (table for table, columns in FED.items() if columns == shape)
        wrong = f"select count(*) from complete_rows where {WRONG_ROWS}"
        if "month" in shape and (n_wrong := self.row(wrong)[0]):
            raise TrialError(
                f"LS-FEA-015 {self.file} returns {n_wrong:,} rows without a user or with a month that is not the first"
                " day of a month: return month of stg_actions"
            )
        selected = ", ".join(str(checked.get(column, column)) for column in shape)
        keys = ", ".join(column for column in shape if column != "value")
        try:
            self.connection.execute(f"insert into {table} select {selected} from complete_rows group by {keys}")
        except duckdb.Error as error:
            raise TrialError(one_line(error)) from None

    def cut_off(self, shape: tuple[str, ...]) -> str:
        """Raise TrialError if the rows through the middle month depend on later months; returns the month."""
        (cut,) = self.row("select quantile_disc(month, 0.5) from month_calendar where is_closed")
        self.show(month=f"month <= date '{cut}'")
        self.rows_of_group("cut_rows")
        keys = [column for column in shape if column != "value"]
        differs = f"or abs(complete.value - cut.value) > {TOLERANCE} * greatest(1, abs(complete.value))"
        changed = CHANGED.format(
            is_known=IS_KNOWN[shape[0]].format(cut=cut),
            keys=", ".join(keys),
            or_differs=differs if "value" in shape else "",
        )
        found = self.connection.sql(changed).fetchall()
        self.show()
        if found:
            raise TrialError(
                f"LS-FEA-013 {self.file} returns other rows of {found[0][0]} through {cut:%Y-%m} if later months are"
                " left out: use no later month (lead, totals over all months), and no random number"
            )
        return f"{cut:%Y-%m}"

    def count(self, rows: pd.DataFrame) -> None:
        """Count the group's features for the users of training rows, and number all features with enough rows."""
        self.connection.execute("create table rows as from rows")
        self.show(stg_actions="user_id in (select user_id from rows)")
        *indices, observed, monthly = COUNTING
        for table in indices:
            self.connection.execute(f"create table {table} as {self.sql[table]}")
        self.connection.execute(f"create view {observed} as {self.sql[observed]}")
        for place, month in enumerate(sorted(rows["month"].unique())):
            into = f"insert into {monthly}" if place else f"create table {monthly} as"
            try:
                self.connection.execute(f"{into} {self.sql[monthly].replace('__month__', f'{month:%Y-%m-%d}')}")
            except duckdb.Error as error:
                raise TrialError(one_line(error)) from None
        before = NAMES_BEFORE.format(production=self.production, group=self.group)
        names = before if self.group in self.tables and "feature" in self.tables[self.group] else "select '' as feature"
        self.connection.execute(f"create table names_before as {names}")
        if name := self.row(OF_OTHERS.format(production=self.production))[0]:
            raise TrialError(
                f"LS-FEA-016 {self.file} returns {name}, a feature of another group: name its features otherwise"
            )
        vocabulary, _ = NUMBERING
        self.connection.execute(f"create table training_features as {FEATURES.format(production=self.production)}")
        self.connection.execute(f"create table {vocabulary} as {self.sql[vocabulary]}")
