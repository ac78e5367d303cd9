"""How good the carried beliefs are on simulated users that no model has seen: python bench/fusion_quality.py.

14,000 simulated users a seed: half train, 15 % calibrate, the rest are judged if they registered exactly one child.
Every user-month from a user's first on counts, quiet ones included; the truth is what was registered, 4 % of it wrong.
"""

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from attainable_bound import attainable
from held_out import interval
from measuring import WORK, build, compiled, demo_source, keep
from second_child import curve

SEEDS, FIRST_OF_SIX = (1, 2, 3), "2016-09-01"
FOLDS = ("birth_month_filter", "dynamic_fusion")
FILTER = f"{FOLDS[0]}, 24 months"
SPINE = """
    select user_id, month, stage_no - 1 as stage, months_of_evidence, last_active_month = month as is_active
    from stage_predictions join birth_month_filter using (user_id, month) join stages on true_stage = stage
    where method = 'prior' order by user_id, month
"""
# In how many of the judged user-months the interval holds the registered birth month.
COVERAGE = """
    select avg(case when date_trunc('month', birth_date) between earliest_birth_month and latest_birth_month
        then 1 else 0 end)
    from stage_predictions join birth_month_filter using (user_id, month) join stg_children using (user_id)
    where method = 'prior' and expected_birth_month is not null
"""
# The stages' shares of what columns or rows say of the age bins.
OF_STAGES = """
    select stage, list(age_bin order by bin_no) from age_bins as bins
    join stages on bins.from_month >= stages.from_month and bins.to_month <= stages.to_month
    group by stage, stage_no order by stage_no
"""


@dataclass
class Judged:
    """User-months with their registered stage, and what each method gave to every stage (user-months x stages)."""

    spine: pd.DataFrame
    stages: list[str]
    said: dict[str, np.ndarray]
    interval_coverage: float = 0.0

    @cached_property
    def months(self) -> dict[str, np.ndarray]:
        """Which user-months belong to all months, to the six newest, to February."""
        month = self.spine["month"]
        return {
            "24 months": np.ones(len(month), bool),
            "six months": (month >= FIRST_OF_SIX).to_numpy(),
            "February": (month == month.max()).to_numpy(),
        }

    def add(self, method: str, rows: pd.DataFrame) -> None:
        """Line a method's rows up with the user-months; where it says nothing, the prior speaks."""
        p = self.spine.merge(rows, on=["user_id", "month"], how="left")[[f"p_{s}" for s in self.stages]].to_numpy()
        p = np.where(np.isnan(p), self.said["prior"], p)
        self.said[method] = p / p.sum(axis=1, keepdims=True)

    def right(self, method: str) -> np.ndarray:
        """Whether the method named the registered stage, 100 or 0; of equal ones it names the younger."""
        return 100.0 * (self.said[method].argmax(axis=1) == self.spine["stage"].to_numpy())

    def log_loss(self, method: str) -> np.ndarray:
        """Minus the logarithm of what the method gave to the registered stage."""
        return -np.log(np.maximum(self.said[method][np.arange(len(self.spine)), self.spine["stage"]], 1e-12))

    def calibration_error(self, method: str, where: np.ndarray) -> float:
        """Expected calibration error of the named stage, 15 bins."""
        p = self.said[method][where].max(axis=1)
        gaps = np.bincount(np.minimum((p * 15).astype(int), 14), weights=self.right(method)[where] / 100 - p)
        return float(np.abs(gaps).sum() / len(p))

    def figures(self, method: str) -> dict[str, float]:
        """Accuracy in %, log-loss, calibration error; a method that starts with the six months is judged on them."""
        return {
            f"{name}, {period}": value
            for period, where in self.months.items()
            if period != "24 months" or "six" not in method
            for name, value in {
                "accuracy": self.right(method)[where].mean(),
                "log-loss": self.log_loss(method)[where].mean(),
                "calibration error": self.calibration_error(method, where),
            }.items()
        }

    def gain(self) -> np.ndarray:
        """Points of accuracy that the filter has over the memory-less regression."""
        return self.right(FILTER) - self.right("memory_less")

    def least_gain(self, by: pd.Series) -> str:
        """In which group of user-months it gains least, and how much."""
        means = pd.Series(self.gain()).groupby(by.to_numpy()).mean()
        return f"{means.min():.1f} points ({str(means.idxmin())[:10]})"


def judged(seed: int) -> Judged:
    """Build the project on the seed's users and gather what every method says of the test users."""
    name, data = f"split{seed}", "demo14" if seed == 1 else f"demo14_{seed}"
    source = demo_source(data, users=14_000, months=24, through="2017-02", seed=seed)
    warehouse = build(source, name, train_share=0.5, validation_share=0.15)
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        bins_of = dict(connection.sql(OF_STAGES).fetchall())
        prior = dict(
            connection.sql(
                "select age_bin, value from stage_coefficients where regression = 'memory_less' and kind = 'prior'"
            ).fetchall()
        )
        found = Judged(connection.sql(SPINE).df(), list(bins_of), {})
        of_stages = np.array([sum(prior[age_bin] for age_bin in bins) for bins in bins_of.values()])
        found.said["prior"] = np.tile(of_stages / of_stages.sum(), (len(found.spine), 1))
        masses = [f"{' + '.join(f'bin_{b}' for b in bins)} as p_{stage}" for stage, bins in bins_of.items()]
        found.add("memory_less", connection.sql(f"select user_id, month, {', '.join(masses)} from stage_scores").df())
        carried = connection.sql("from stage_beliefs where is_primary").df()
        ages = connection.sql("select from_month, to_month from stages order by stage_no").fetchall()
        edges = [ages[0][0], *(to_month for _, to_month in ages)]
        found.interval_coverage = connection.sql(COVERAGE).fetchall()[0][0]
    users = found.spine["user_id"].unique()
    for fold in FOLDS:
        found.add(f"{fold}, 24 months", carried[carried["method"] == fold])
        found.add(f"{fold}, six months", folded_again(warehouse, name, fold, users))
    answers = attainable(source, warehouse, users, found.spine, edges)
    # Some registrations are wrong, which nobody can know; and the temperature is the one that suits these users best.
    mixed = {f"attainable {n}": 0.97 * p + 0.03 * found.said["prior"] for n, p in enumerate(answers)}
    best = min(mixed, key=lambda one: Judged(found.spine, found.stages, mixed).log_loss(one).mean())
    found.said["attainable"] = mixed[best]
    return found


def folded_again(warehouse: Path, name: str, fold: str, users: np.ndarray) -> pd.DataFrame:
    """What the project's own SQL of a fold says of the users when their history begins with the six months."""
    text, said, before = compiled(name, fold), [], "1900-01-01"
    with duckdb.connect() as connection:
        connection.execute(f"attach '{warehouse}' as built (read_only)")
        connection.execute(f"attach ':memory:' as {name}")
        connection.register("judged", pd.DataFrame({"user_id": users}))
        for table in ("stage_evidence", "stage_scores"):
            connection.execute(f"create table {name}.{table} as from built.{table} where user_id in (from judged)")
        for table in ("belief_priors", "stage_models"):
            connection.execute(f"create table {name}.{table} as from built.{table}")
        state = connection.sql(f"from built.{fold}_cells limit 0")
        state.create(f"{name}.{fold}_cells")
        months = connection.execute(
            "select strftime(month, '%Y-%m-%d'), model_version from built.month_models where month >= ? order by month",
            [FIRST_OF_SIX],
        ).fetchall()
        for month, version in months:
            sql = text.replace("__month__", month).replace("__previous_month__", before)
            connection.execute(f"create or replace table said as {sql.replace('__model_version__', version)}")
            connection.execute(f"insert into {name}.{fold}_cells select {', '.join(state.columns)} from said")
            said.append(connection.sql("from said").df())
            before = month
    rows = pd.concat(said)
    return rows[rows["place"] == 1] if "place" in rows else rows


def main() -> None:
    """Judge every seed, print the means."""
    tables, gains, curves = [], [], []
    for seed in SEEDS:
        found = judged(seed)
        tables.append(pd.DataFrame({method: found.figures(method) for method in found.said}).T)
        user = found.spine["user_id"].astype("category").cat.codes.to_numpy()
        gains.append(
            {
                "gain": interval(found.gain(), user, 1),
                "birth months within their interval": round(found.interval_coverage, 3),
                "least by month": found.least_gain(found.spine["month"]),
                "least by months of evidence": found.least_gain(
                    pd.cut(found.spine["months_of_evidence"], [0, 1, 3, 8, 24]).astype(str)
                ),
                "least by being active": found.least_gain(found.spine["is_active"]),
            }
        )
        curves.append(curve(WORK / f"split{seed}.duckdb"))
        print(f"seed {seed}: {len(user):,} user-months of {user.max() + 1:,} test users", flush=True)
        print(f"  the filter over the memory-less regression: {gains[-1]}", flush=True)
        print(tables[-1].round(3).to_string(na_rep=""), file=sys.stderr, flush=True)
    mean, spread = sum(tables) / len(tables), np.std(np.stack(tables), axis=0, ddof=1)
    keep(
        "fusion_quality",
        {
            "mean of seeds": {method: row.dropna().round(4).to_dict() for method, row in mean.iterrows()},
            "largest standard deviation between seeds": dict(
                zip(mean, np.nanmax(spread, axis=0).round(4), strict=True)
            ),
            "the filter over the memory-less regression": gains,
            "second children": curves,
        },
    )
    print(f"Simulated, mean of {len(SEEDS)} seeds:")
    print("Second children, two-child families in different stages, mean of the seeds:")
    for name in curves[0]:
        print(f"  {name:36} {np.mean([one[name] for one in curves]):.3f}")
    for period in found.months:
        print(mean[[c for c in mean if c.endswith(period)]].dropna().round(3).to_string())


if __name__ == "__main__":
    main()
