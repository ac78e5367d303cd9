"""Hyperparameter search for the cart hybrid by cross-validation on users: python -m life_stage_checkout.tuning

Five-fold split of the users of the closed months. A grid by default; --search bayesian uses Optuna (extra `tuning`). It
prints every setting, the best last, and changes nothing: settings are options of checkout_coefficients in
models/checkout/candidates/_candidates.yml and ranking/_ranking.yml.
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from zlib import crc32

import duckdb
import numpy as np
import pandas as pd

from life_stage import paths
from life_stage.training.regression import use_one_thread
from life_stage_checkout.ranker import KEYS, RankerSettings, columns_of, fit, standard_candidates

PENALTIES, COUNTED = (1e-4, 1e-3, 1e-2, 1e-1), (1, 3, 10)
N_FOLDS = 5
N_SETTINGS = len(PENALTIES) * len(COUNTED)
EXAMPLES = """
    select examples.*, queries.user_id, queries.n_relevant, sampled.item_no is not null as is_training
    from checkout_examples as examples inner join checkout_queries as queries using (query_id)
    left join checkout_training_examples as sampled using (query_id, item_no)
    where examples.kind = 'cart' order by query_id, item_no
"""


def precision(setting: RankerSettings, rows: pd.DataFrame, columns: list[str]) -> float:
    """Cross-validated MAP@10 of all carts.

    rows: EXAMPLES with the cross-validation fold of the user, `part`; columns: those of the hybrid.
    """
    is_training, odds = rows["is_training"], np.empty(len(rows))
    for part in range(N_FOLDS):
        held_out = (rows["part"] == part).to_numpy()
        _, weights = fit(rows[~held_out & is_training], columns, setting)
        odds[held_out] = rows.loc[held_out, columns].to_numpy(float) @ [weights[name] for name in columns]
    found = precisions(rows.assign(odds=odds)).groupby(rows["query_id"]).sum()
    n_relevant = rows.groupby("query_id")["n_relevant"].first().clip(upper=10)
    return float((found / n_relevant)[n_relevant > 0].mean())


def precisions(rows: pd.DataFrame) -> pd.Series:
    """Precision at each hit's rank, up to rank 10; 0 for all other rows.

    Its sum over a query, divided by the number of relevant items, is the average precision. rows: query_id, item_no,
    is_relevant and odds, the descending order of the items.
    """
    ranked = rows.sort_values(["query_id", "odds", "item_no"], ascending=[True, False, True])
    rank = ranked.groupby("query_id").cumcount() + 1
    is_hit = ranked["is_relevant"] * (rank <= 10)
    return is_hit * is_hit.groupby(ranked["query_id"]).cumsum() / rank


def grid(objective: Callable[[RankerSettings], float]) -> Iterator[tuple[RankerSettings, float]]:
    """Every setting of PENALTIES x COUNTED with its objective."""
    for setting in (RankerSettings(*pair) for pair in product(PENALTIES, COUNTED)):
        yield setting, objective(setting)


def bayesian(
    objective: Callable[[RankerSettings], float], seed: int, n_settings: int
) -> Iterator[tuple[RankerSettings, float]]:
    """n_settings settings within the grid's limits, proposed by Optuna, with their objectives."""
    import optuna  # the extra `tuning`

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    for _ in range(n_settings):
        trial = study.ask()
        penalty = trial.suggest_float("penalty", PENALTIES[0], PENALTIES[-1], log=True)
        setting = RankerSettings(penalty, trial.suggest_int("most_counted", COUNTED[0], COUNTED[-1]))
        value = objective(setting)
        study.tell(trial, value)
        yield setting, value


def search(
    warehouse: Path, method: str = "grid", seed: int = 1, n_settings: int = N_SETTINGS
) -> Iterator[tuple[RankerSettings, float]]:
    """(setting, MAP@10), lazily. Raises ValueError LS-LOG-002 without carts in the closed months."""
    use_one_thread()
    with duckdb.connect(str(warehouse), read_only=True) as session:
        rows = standard_candidates(session.sql(EXAMPLES).df())
    if rows.empty:
        raise ValueError(f"LS-LOG-002 {warehouse} has no carts to train on: run the job with checkout_months above 0")
    rows["part"] = rows["user_id"].map(lambda user: crc32(f"{seed} {user}".encode()) % N_FOLDS)
    columns = columns_of(
        "hybrid", "cart", [name for name in rows if name not in (*KEYS, "user_id", "n_relevant", "is_training", "part")]
    )

    def objective(setting: RankerSettings) -> float:
        return precision(setting, rows, columns)

    return grid(objective) if method == "grid" else bayesian(objective, seed, n_settings)


def main() -> None:
    """Search as the arguments request; print each setting, and the best one last."""
    parser = argparse.ArgumentParser(prog="python -m life_stage_checkout.tuning", description=__doc__)
    parser.add_argument("--search", choices=["grid", "bayesian"], default="grid", help="method (default: grid)")
    parser.add_argument("--settings", type=int, default=N_SETTINGS, help="number of settings of the bayesian search")
    parser.add_argument("--seed", type=int, default=1, help="random seed of the folds and of the bayesian search")
    options = parser.parse_args()
    if options.settings < 1:
        parser.error("--settings must be at least 1")
    evaluated = []
    try:
        for setting, value in search(paths.warehouse(), options.search, options.seed, options.settings):
            evaluated.append((value, setting))
            print(
                f"MAP@10 {value:.4f} with penalty {setting.penalty:.2g}, most_counted {setting.most_counted}",
                flush=True,
            )
    except ValueError as error:
        raise SystemExit(str(error)) from None
    value, best = max(evaluated)
    print(f"best: {value:.4f} with {{ penalty: {best.penalty:.2g}, most_counted: {best.most_counted} }}")


if __name__ == "__main__":
    main()
