"""Random sample of valid and rejected rows for manual review: life-stage sample-rows"""

import sys
from pathlib import Path

import duckdb

from life_stage import paths

N_ROWS = 50
VALID = """
    select actions.action_id, actions.user_id, actions.occurred_at, actions.action, actions.quantity, actions.price,
        coalesce(actions.search_term, items.title, items.leaf_category, actions.item_id) as what
    from stg_actions as actions left join stg_items as items using (item_id)
"""
REJECTED = """
    select rejected.reason, reasons.meaning, rejected.action_id, rejected.user_id,
        rejected.raw_occurred_at as occurred_at, rejected.raw_action as action, rejected.source_file
    from stg_rejected_actions as rejected
    join rejection_reasons as reasons on rejected.reason = reasons.reason and reasons.table_name = 'actions'
"""


def sample_rows(warehouse: Path, n_rows: int = N_ROWS) -> str:
    """Random rows as text, at most n_rows of each kind."""
    parts = []
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        for title, sql in {"Valid": VALID, "Rejected": REJECTED}.items():
            rows = connection.sql(f"from ({sql}) using sample reservoir({n_rows} rows)").df()
            n_all = connection.sql(f"select count(*) from ({sql})").fetchall()[0][0]
            parts.append(
                f"{title}: {len(rows)} of {n_all:,}\n{rows.to_string(index=False, max_colwidth=60, na_rep='')}"
            )
    return "\n\n".join(parts)


def main() -> None:
    """Print rows of the warehouse."""
    file = paths.warehouse()
    try:
        print(sample_rows(file))
    except duckdb.Error as error:
        sys.exit(f"LS-SUM-003 {file} cannot be read: {error}: run life-stage run first")
