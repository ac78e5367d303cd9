"""Hyperparameter search for the cart hybrid by cross-validation on users: python -m life_stage_checkout.tuning

Five-fold split of the users of the closed months. Values of a var, such as checkout_half_life_days=15,30,60,120, are
tried by a build of the checkout in a copy of the warehouse each, and the last line is the command that applies the
best. Without a var, a grid of the ranker's settings; --search bayesian uses Optuna (extra `tuning`). They are options
of checkout_coefficients in models/checkout/ranking/_ranking.yml. Every setting is printed, the best last, and nothing
is changed.
"""

import argparse
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from zlib import crc32

import duckdb
import numpy as np
import pandas as pd

from life_stage import paths
from life_stage.commands.command_line import vars_option
from life_stage.commands.monthly_run import BUILD, DBT
from life_stage.engine.ledger import ledger_of
from life_stage.training.regression import use_one_thread
from life_stage_checkout.ranker import KEYS, RankerSettings, columns_of, fit, standard_candidates

PENALTIES, COUNTED = (1e-4, 1e-3, 1e-2, 1e-1), (1, 3, 10)
N_FOLDS = 5
SETTING = RankerSettings(1e-3, 3)  # that of the project, for values of a var
BUILT = ("path:models/checkout/queries", "path:models/checkout/candidates", "path:models/checkout/ranking")
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
    """(setting, MAP@10), lazily. Raises as objective_of."""
    objective = objective_of(warehouse, seed)
    return grid(objective) if method == "grid" else bayesian(objective, seed, n_settings)


def objective_of(warehouse: Path, seed: int) -> Callable[[RankerSettings], float]:
    """MAP@10 of the warehouse's carts by setting. Raises ValueError LS-LOG-002 without carts in the closed months."""
    use_one_thread()
    with duckdb.connect(str(warehouse), read_only=True) as session:
        rows = standard_candidates(session.sql(EXAMPLES).df())
    if rows.empty:
        raise ValueError(f"LS-LOG-002 {warehouse} has no carts to train on: run the job with checkout_months above 0")
    rows["part"] = rows["user_id"].map(lambda user: crc32(f"{seed} {user}".encode()) % N_FOLDS)
    columns = columns_of(
        "hybrid", "cart", [name for name in rows if name not in (*KEYS, "user_id", "n_relevant", "is_training", "part")]
    )

    return lambda setting: precision(setting, rows, columns)


def values_of(
    var: str, values: list[str], warehouse: Path, others: Sequence[str] = (), seed: int = 1
) -> Iterator[tuple[str, float]]:
    """(value, MAP@10), lazily: each of a build of the checkout in a copy of the warehouse.

    others: further vars of the run, NAME=VALUE. Raises ValueError LS-LOG-004 if a build fails, and as objective_of.
    """
    for value in values:
        with TemporaryDirectory() as folder:
            copy = Path(folder) / warehouse.name
            shutil.copy(warehouse, copy)
            if (ledger := ledger_of(warehouse).path).exists():
                shutil.copy(ledger, folder)
            words = [*DBT, "--quiet", *BUILD, "--exclude-resource-type", "test", "unit_test", "--select", *BUILT]
            environment = os.environ | {
                "LIFE_STAGE_WAREHOUSE": str(copy),
                "LIFE_STAGE_PUBLISHED": f"{folder}/published",
            }
            done = subprocess.run(
                [*words, *vars_option([*others, f"{var}={value}"])], env=environment, capture_output=True, text=True
            )
            if done.returncode:
                raise ValueError(f"LS-LOG-004 {var}={value} cannot be built: {done.stdout[-2000:].strip()}")
            yield value, objective_of(copy, seed)(SETTING)


def main() -> None:
    """Search as the arguments request; print each setting, and the best one last."""
    parser = argparse.ArgumentParser(prog="python -m life_stage_checkout.tuning", description=__doc__)
    parser.add_argument("values", nargs="?", metavar="VAR=V1,V2", help="a var of the checkout and values to try")
    parser.add_argument("--var", action="append", default=[], metavar="NAME=VALUE", help="a further var of the run")
    parser.add_argument("--search", choices=["grid", "bayesian"], default="grid", help="method (default: grid)")
    parser.add_argument("--settings", type=int, default=N_SETTINGS, help="number of settings of the bayesian search")
    parser.add_argument("--seed", type=int, default=1, help="random seed of the folds and of the bayesian search")
    options = parser.parse_args()
    if options.settings < 1:
        parser.error("--settings must be at least 1")
    if options.values is not None and not re.fullmatch(r"checkout_[a-z_]+=[^,]+(,[^,]+)*", options.values):
        parser.error(f"{options.values} is no var with values: write checkout_half_life_days=15,30,60,120")
    evaluated = []
    try:
        if options.values:
            var, _, values = options.values.partition("=")
            for value, precision_of_value in values_of(
                var, values.split(","), paths.warehouse(), options.var, options.seed
            ):
                evaluated.append((precision_of_value, value))
                print(f"MAP@10 {precision_of_value:.4f} with {var}={value}", flush=True)
            return print(f"best: {max(evaluated)[0]:.4f} with life-stage run --var {var}={max(evaluated)[1]}")
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
