"""Scores on the simulator's truth instead of the registrations, of which some are wrong: stages, intervals, births.

For test users with exactly one child, in the six months of the evaluation window. Intervals and births are those of the
published filter, for registered and unregistered users alike.
"""

import shutil
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from held_out import error_of_mean
from measuring import dbt

from life_stage.calibration import calibration_error

ONLY_CHILDREN = """
    create temp table only_children as
    select cast(user_id as string) as user_id, min(birth_date) as birth_date
    from '{source}/truth/children.parquet' group by user_id having count(*) = 1
"""
PREDICTED = """
    select predictions.*, stages.stage as true_stage
    from evaluation_predictions as predictions
    join stage_predictions as evaluated using (method, user_id, month)
    join only_children using (user_id)
    join stages on datediff('month', birth_date, month) between from_month and to_month - 1
    order by method, user_id, month
"""
# A test user by the same hash as in stage_labels.
PUBLISHED = """
    select filter.*, datediff('month', birth_date, month) as age, stages.stage as true_stage,
        date_trunc('month', birth_date) between earliest_birth_month and latest_birth_month as holds,
        (
            select count(*) from user_months as acted
            where acted.user_id = filter.user_id and acted.month <= filter.month
            and acted.month >= date_trunc('month', birth_date)
        ) as months_since_birth
    from birth_month_filter as filter
    join only_children using (user_id)
    join evaluation_window using (month)
    left join stages on datediff('month', birth_date, month) between from_month and to_month - 1
    where cast('0x' || left(md5(user_id), 8) as bigint) / 4294967296.0 >= 0.65
"""
# Expected: pregnancy is the most probable state in some month before the birth.
CONFIRMED = """
    with ages as (
        select user_id, birth_confirmed, datediff('month', birth_date, month) as age,
            p_pregnancy * (1 - not_yet_expecting_probability - graduated_probability) as pregnancy
        from birth_month_filter join only_children using (user_id)
    ),
    expected as (select distinct user_id from ages where age < 0 and pregnancy > 0.5)
    select avg(cast(is_confirmed as integer)) from (
        select user_id, bool_or(birth_confirmed) as is_confirmed
        from ages join expected using (user_id)
        where age between 0 and 5 and cast('0x' || left(md5(user_id), 8) as bigint) / 4294967296.0 >= 0.65
        group by user_id
    )
"""
LOSSES = """
    create temp table ages as
    select rows.*, datediff('month', birth_date, month) as age, row_number() over (order by user_id, month) as row_no
    from stage_log_likelihoods as rows join only_children using (user_id);
    create temp table others as
    select *, row_number() over (order by md5(concat(user_id, month))) - 1 as other_no from ages where age < -9;
    create temp table after_loss as
    select others.* exclude (age, row_no, other_no) replace (ages.user_id as user_id, ages.month as month)
    from ages join others on ages.row_no * 7919 % (select count(*) from others) = other_no
    where ages.age >= 0 and ages.user_id in (select user_id from ages where age < 0);
    delete from stage_log_likelihoods as rows using after_loss
    where rows.user_id = after_loss.user_id and rows.month = after_loss.month;
    insert into stage_log_likelihoods by name from after_loss;
    truncate birth_month_filter;
    truncate birth_month_filter_cells;
    delete from build_log where model like 'birth_month_filter%';
"""
BANDS = {1: "1 active month", 2: "2-3", 4: "4-8", 9: "9 or more"}


def scores_on_truth(source: Path, warehouse: Path) -> dict[str, pd.DataFrame]:
    """Tables `truth` (one row per method), `intervals` (per stage and band of active months), `births`."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        connection.execute(ONLY_CHILDREN.format(source=source))
        predicted = connection.sql(PREDICTED).df()
        published = connection.sql(PUBLISHED).df()
        stages = [stage for (stage,) in connection.sql("select stage from stages order by stage_no").fetchall()]
    p = [f"p_{stage}" for stage in stages]
    methods = {method: (rows, rows[p].to_numpy()) for method, rows in predicted.groupby("method")}
    truth = [{"method": method, **scores_of(rows, of, stages)} for method, (rows, of) in methods.items()]
    published["predicted_stage"] = np.array(stages)[published[p].to_numpy().argmax(axis=1)]
    return {"truth": pd.DataFrame(truth), "intervals": intervals(published), "births": births(published)}


def scores_of(rows: pd.DataFrame, probability: np.ndarray, stages: list[str]) -> dict[str, float]:
    """Scores of probabilities (rows x stages) against true_stage, with standard errors over users."""
    stage, user = rows["true_stage"].map(stages.index).to_numpy(), pd.factorize(rows["user_id"])[0]
    right = (probability.argmax(axis=1) == stage) * 1.0
    loss = -np.log(np.maximum(probability[np.arange(len(stage)), stage], 1e-12))
    recall = [right[stage == s].mean() for s in range(len(stages)) if (stage == s).any()]
    return {
        "n_user_months": len(rows),
        "accuracy": right.mean(),
        "accuracy_error": error_of_mean(right, user),
        "macro_recall": float(np.mean(recall)),
        "log_loss": loss.mean(),
        "log_loss_error": error_of_mean(loss, user),
        "calibration_error": calibration_error(probability, stage),
        **{f"recall_{name}": right[stage == s].mean() for s, name in enumerate(stages)},
    }


def intervals(published: pd.DataFrame) -> pd.DataFrame:
    """Share of the user-months in a stage whose interval holds the true birth month, by predicted and by true stage."""
    known = published[published["true_stage"].notna() & published["expected_birth_month"].notna()]
    limits = list(BANDS)
    band = known["months_of_evidence"].map(lambda n: BANDS[limits[np.searchsorted(limits, n, side="right") - 1]])
    known = known.assign(band=band, holds=known["holds"].astype(float))
    found = []
    for by in ("predicted_stage", "true_stage"):
        groups = known.groupby([by, "band"], sort=False)["holds"].agg(["size", "mean"]).reset_index()
        found.append(groups.set_axis(["stage", "band", "n_user_months", "coverage"], axis=1).assign(by=by))
    return pd.concat(found, ignore_index=True)


def births(published: pd.DataFrame) -> pd.DataFrame:
    """Confirmation of births: newborns without it, and children not yet born with it."""
    newborn, unborn = published["age"].between(0, 5), published["age"] < 0
    acted, confirmed = published["months_since_birth"] > 0, published["birth_confirmed"]
    is_told = confirmed & (published["predicted_stage"] != "pregnancy")
    return pd.DataFrame(
        {
            "figure": [
                "newborns withheld",
                "newborns withheld, with an action since birth",
                "newborns without an action since birth",
                "unborn children with a confirmed birth",
            ],
            "share": [
                1 - confirmed[newborn].mean(),
                1 - confirmed[newborn & acted].mean(),
                1 - acted[newborn].mean(),
                is_told[unborn].mean(),
            ],
        }
    )


def confirmed_births(source: Path, warehouse: Path, name: str, **variables: object) -> pd.DataFrame:
    """Share of the once expected births that are confirmed within six months, for births and for losses; as births().

    The simulator has no losses: in a copy of the warehouse, the months after the birth get the log-likelihoods of
    random months of families not yet expecting.
    """
    copy = warehouse.with_name(f"{name}.duckdb")
    shutil.copy(warehouse, copy)
    with duckdb.connect(str(copy)) as connection:
        connection.execute(ONLY_CHILDREN.format(source=source))
        of_births = connection.sql(CONFIRMED).fetchall()[0][0]
        connection.execute(LOSSES)
    dbt(source, name, "run", "--select", "birth_month_filter", **variables)
    with duckdb.connect(str(copy), read_only=True) as connection:
        connection.execute(ONLY_CHILDREN.format(source=source))
        of_losses = connection.sql(CONFIRMED).fetchall()[0][0]
    copy.unlink()
    figure = [f"{of}, if once expected, confirmed within six months" for of in ("births", "losses (made up)")]
    return pd.DataFrame({"figure": figure, "share": [of_births, of_losses]})
