"""Mapping of user ids to pseudonyms, for the holder of the key: it reverses the pseudonymisation."""

from life_stage.operations import Warehouse
from life_stage.paths import sql_literal


def write_pseudonyms(warehouse: Warehouse, ids: str, pseudonym: str, path: str) -> None:
    """Write every id of the source with its pseudonym as CSV; ids, pseudonym: SQL of both."""
    rows = f"select distinct id as user_id, {pseudonym} as pseudonym from ({ids}) where id is not null order by user_id"
    warehouse.read_source(f"copy ({rows}) to {sql_literal(path)} (header)")
    print(f"Wrote user ids with their pseudonyms to {path}: keep the file as secret as the key.")
