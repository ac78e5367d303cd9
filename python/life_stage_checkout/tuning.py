"""Hyperparameter search for the hybrid of carts, on held-out shoppers: python -m life_stage_checkout.tuning.

Shoppers of the closed months are cut into five parts; each part is told by what was learned from the others. A grid by
default, --search bayesian asks Optuna (extra `tuning`) where to look next. It prints every setting, the best last, and
changes nothing: the settings are the options of checkout_coefficients in models/checkout/ranking/_ranking.yml.
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
from life_stage.regression import use_one_thread
from life_stage_checkout.ranker import KEYS, LEARNED, RankerSettings, columns_of, fit, of_others

PENALTIES, COUNTED = (1e-4, 1e-3, 1e-2, 1e-1), (1, 3, 10)
N_PARTS = 5
N_SETTINGS = len(PENALTIES) * len(COUNTED)
EXAMPLES = """
    select examples.*, queries.user_id, queries.n_relevant
    from checkout_examples as examples inner join checkout_queries as queries using (query_id)
    where examples.kind = 'cart' order by query_id, item_no
"""


def precision(setting: RankerSettings, rows: pd.DataFrame, columns: list[str]) -> float:
    """MAP@10 of all carts, each told by a hybrid that learned from the shoppers of other parts.

    rows: EXAMPLES with the number of the shopper's `part`; columns: what the hybrid reads.
    """
    known, odds = rows.eval(LEARNED), np.empty(len(rows))
    for part in range(N_PARTS):
        here = (rows["part"] == part).to_numpy()
        _, weights = fit(rows[~here & known], columns, setting)
        odds[here] = rows.loc[here, columns].to_numpy(float) @ [weights[name] for name in columns]
    found = precisions(rows.assign(odds=odds)).groupby(rows["query_id"]).sum()
    n_wanted = rows.groupby("query_id")["n_relevant"].first().clip(upper=10)
    return float((found / n_wanted)[n_wanted > 0].mean())


def precisions(rows: pd.DataFrame) -> pd.Series:
    """What each row adds to its case's average precision at 10 times the items wanted; 0 for all but hits.

    rows: query_id, item_no, is_relevant and odds, by which the items of a case are ordered, highest first.
    """
    ranked = rows.sort_values(["query_id", "odds", "item_no"], ascending=[True, False, True])
    rank = ranked.groupby("query_id").cumcount() + 1
    is_hit = ranked["is_relevant"] * (rank <= 10)
    return is_hit * is_hit.groupby(ranked["query_id"]).cumsum() / rank


def grid(judge: Callable[[RankerSettings], float]) -> Iterator[tuple[RankerSettings, float]]:
    """Every setting of PENALTIES x COUNTED with its figure."""
    for setting in (RankerSettings(*pair) for pair in product(PENALTIES, COUNTED)):
        yield setting, judge(setting)


def bayesian(
    judge: Callable[[RankerSettings], float], seed: int, n_settings: int
) -> Iterator[tuple[RankerSettings, float]]:
    """As many settings between the ends of the grid, each chosen by what the ones before were worth."""
    import optuna  # the extra `tuning`

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    for _ in range(n_settings):
        trial = study.ask()
        penalty = trial.suggest_float("penalty", PENALTIES[0], PENALTIES[-1], log=True)
        setting = RankerSettings(penalty, trial.suggest_int("most_counted", COUNTED[0], COUNTED[-1]))
        figure = judge(setting)
        study.tell(trial, figure)
        yield setting, figure


def search(
    warehouse: Path, how: str = "grid", seed: int = 1, n_settings: int = N_SETTINGS
) -> Iterator[tuple[RankerSettings, float]]:
    """(setting, MAP@10) one after the other. Raises ValueError LS-LOG-002 where no cart of the past is known."""
    use_one_thread()
    with duckdb.connect(str(warehouse), read_only=True) as session:
        rows = of_others(session.sql(EXAMPLES).df())
    if rows.empty:
        raise ValueError(
            f"LS-LOG-002 {warehouse} holds no cart to learn from: run the job with checkout_months above 0"
        )
    rows["part"] = rows["user_id"].map(lambda user: crc32(f"{seed} {user}".encode()) % N_PARTS)
    columns = columns_of(
        "hybrid", "cart", [name for name in rows if name not in (*KEYS, "user_id", "n_relevant", "part")]
    )

    def judge(setting: RankerSettings) -> float:
        return precision(setting, rows, columns)

    return grid(judge) if how == "grid" else bayesian(judge, seed, n_settings)


def main() -> None:
    """Search as the arguments say; print each setting as it is tried, and the best."""
    parser = argparse.ArgumentParser(prog="python -m life_stage_checkout.tuning", description=__doc__)
    parser.add_argument("--search", choices=["grid", "bayesian"], default="grid")
    parser.add_argument("--settings", type=int, default=N_SETTINGS, help="how many the bayesian search tries, from 1")
    parser.add_argument("--seed", type=int, default=1, help="of the parts, and of the bayesian search")
    options = parser.parse_args()
    if options.settings < 1:
        parser.error("--settings has to be 1 or more")
    tried = []
    try:
        for setting, figure in search(paths.warehouse(), options.search, options.seed, options.settings):
            tried.append((figure, setting))
            print(
                f"MAP@10 {figure:.4f} with penalty {setting.penalty:.2g}, most_counted {setting.most_counted}",
                flush=True,
            )
    except ValueError as error:
        raise SystemExit(str(error)) from None
    figure, best = max(tried)
    print(f"best: {figure:.4f} with {{ penalty: {best.penalty:.2g}, most_counted: {best.most_counted} }}")


if __name__ == "__main__":
    main()
