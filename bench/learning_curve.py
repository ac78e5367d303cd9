"""Quality by the number of training users: the published rows of everybody, scored as in households.py.

The same simulated shoppers each time, of whom ever more have registered a child. python bench/learning_curve.py
"""

import duckdb
import pandas as pd
from harness import WORK, keep, progress
from households import hidden_source, measured

SEED, CHILDLESS_SHARE = 1, 0.04
REGISTERED_SHARES = (0.08, 0.25, 0.85)  # about 300, 1,000 and 3,500 training users


def main() -> None:
    """Measure each share of registered users, and store the figures."""
    found = []
    for share in REGISTERED_SHARES:
        run = measured(SEED, CHILDLESS_SHARE, share)
        warehouse = WORK / f"{hidden_source(SEED, CHILDLESS_SHARE, share).name}.duckdb"
        with duckdb.connect(str(warehouse), read_only=True) as connection:
            ((n_users,),) = connection.sql("select n_training_users from model_registry").fetchall()
        found.append({"n_training_users": n_users, **run})
        progress(f"learning curve: {len(found)} of {len(REGISTERED_SHARES)} done")
    keep("learning_curve", {"runs": found})
    print(pd.DataFrame([{"training users": run["n_training_users"], **run["figures"]} for run in found]).T.to_string())


if __name__ == "__main__":
    main()
