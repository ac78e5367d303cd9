"""Accuracy of second children on simulated families, by the share of false ones among single children.

Evaluated on months of test families with two registered children in different stages. F1 compares the predicted with
the registered set of stages. Thresholds come from single-child validation users.
"""

from pathlib import Path

import duckdb
import numpy as np

SHARES = (0.02, 0.05, 0.10, 0.15)
FAMILIES = """
    select split, labels.user_id, labels.month, n_children,
        count(stage_no) as n_in_stages, count(distinct stage_no) as n_stages,
        list(distinct stage_no) filter (where stage_no is not null) as registered,
        any_value(log_odds) as log_odds, any_value({first}) as first, any_value({second}) as second
    from stage_labels as labels
    left join stages on age_months >= from_month and age_months < to_month
    join birth_month_filter as firsts using (user_id, month)
    join pair_filter as seconds using (user_id, month)
    where split <> 'train'
    group by split, labels.user_id, labels.month, n_children
"""


def likeliest(table: str, stages: list[str]) -> str:
    """SQL of the most probable stage's index, from 1."""
    p = [f"{table}.p_{stage}" for stage in stages]
    greatest = f"greatest({', '.join(p)})"
    return f"case {' '.join(f'when {column} = {greatest} then {n}' for n, column in enumerate(p, 1))} end"


def curve(warehouse: Path) -> dict[str, float]:
    """F1 and share of false second children on test users, for each target share of the threshold."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        stages = [stage for (stage,) in connection.sql("select stage from stages order by stage_no").fetchall()]
        rows = connection.sql(
            FAMILIES.format(first=likeliest("firsts", stages), second=likeliest("seconds", stages))
        ).df()
    is_test, single = rows["split"] == "test", rows["n_children"] == 1
    in_two_stages = (rows["n_in_stages"] == 2) & (rows["n_stages"] == 2)
    two = rows[is_test & (rows["n_children"] == 2) & in_two_stages]
    found = {"first child alone: F1": f1(two, np.inf)}
    for share in SHARES:
        threshold = rows["log_odds"][~is_test & single].quantile(1 - share)
        found[f"{share:.0%}: F1"] = f1(two, threshold)
        found[f"{share:.0%}: false second children"] = float((rows["log_odds"][is_test & single] > threshold).mean())
    return found | {"n_months_of_two": len(two)}


def f1(families, threshold: float) -> float:
    """Mean over the families' months of 2 |predicted and registered| / (|predicted| + |registered|)."""
    scores = []
    for registered, first, second, odds in families[["registered", "first", "second", "log_odds"]].itertuples(
        index=False
    ):
        predicted = {first, second} if odds > threshold else {first}
        scores.append(2 * len(predicted & set(registered)) / (len(predicted) + len(set(registered))))
    return float(np.mean(scores))
