"""Months that retention drops, by calendar years, and posteriors that the next run rebuilds."""

from life_stage.operations import Warehouse
from life_stage.operations.erasure import erase_unused_terms
from life_stage.paths import sql_literal

NEVER = "0001-01-01"
JANUARY = """
    select date_trunc('year', max(month) - to_months(? - 1))::date::varchar from month_calendar where is_closed
"""


def drop_old_months(warehouse: Warehouse, layers: dict[str, dict]) -> None:
    """Drop the months of each layer that are past retention; layers: {name: {months: to keep, tables}}.

    Runs after a complete run only, so that no pending computation needs them. Earlier months than the recorded limit
    are never read or recomputed, and posteriors are recomputed from a December: hence whole years.
    """
    for layer, kept in layers.items():
        (month,) = warehouse.values(JANUARY, kept["months"])
        if month is not None and month > (warehouse.recorded(limit := f"first_{layer}_month") or NEVER):
            with warehouse.transaction():
                for table in kept["tables"]:
                    warehouse.session.execute(f"delete from {table} where month < ?::date", [month])
                erase_unused_terms(warehouse)
                warehouse.rebuild_derived()
                warehouse.record(limit, month)


def rebuild_posteriors(warehouse: Warehouse) -> None:
    """Cause the next run to compute all posteriors from the stored log-likelihoods, also if a state was lost.

    Raises ValueError LS-KEP-001 if retention has dropped months.
    """
    if warehouse.first_month > NEVER:
        raise ValueError(
            "LS-KEP-001 posteriors cannot be rebuilt from the first month, because actions or features before"
            f" {warehouse.first_month} were dropped: restore a backup; nothing was changed"
        )
    names = ", ".join(sql_literal(name) for name in warehouse.recursive)
    with warehouse.transaction():
        warehouse.rebuild_derived()
        warehouse.session.execute(f"delete from build_log where model in ({names})")
        warehouse.session.execute(f"delete from project_state where key in ({names})")
    print("The next run rebuilds the posteriors of all months.")
