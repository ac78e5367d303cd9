"""A trial of a feature group on the newest run: rules, later months, support, gain on held-out users, weights, cost.

`life-stage try evening_share` reads the warehouse and changes nothing. The group's SQL and the project's own models
that count features run in a database in memory, whose tables are views of the warehouse. SQL that needs nothing of dbt
but ref() is checked before dbt parses the project, which takes 15 seconds after a change of dbt_project.yml.
"""

import difflib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from life_stage import paths
from life_stage.commands.feature_scratch import COUNTING, NUMBERING, Scratch, TrialError, one_line
from life_stage.engine.feature_checks import (
    FOLDER,
    READABLE,
    SHAPES,
    groups_in,
    rendered,
    wrong_columns_of_group,
    wrong_names,
    wrong_reads,
    wrong_text,
)
from life_stage.engine.project_macros import project_settings
from life_stage.filtering.birth_months import Ages
from life_stage.training.examples import examples_of
from life_stage.training.feature_trial import Trial, compare
from life_stage.training.regression import NotTrainedError
from life_stage.training.regularisation import N_FOLDS, folds_of
from life_stage.training.retraining import newest_date, penalties_of, read_age_divisions

N_SHOWN = 3  # features, users


def main(given: str, variables: Mapping[str, object] | None = None) -> None:
    """Print the trial; variables: in place of those of dbt_project.yml.

    Exits with 1 and a message if a rule is broken or no run has finished.
    """
    try:
        for line in trial(given.removesuffix(".sql").rsplit("/", 1)[-1].removeprefix("feature_"), variables or {}):
            print(line, flush=True)
    except TrialError as error:
        sys.exit(str(error))
    except duckdb.Error as error:
        sys.exit(f"LS-FEA-011 {given} cannot be tried: {one_line(str(error).partition(chr(10))[0])}")


def trial(name: str, variables: Mapping[str, object]) -> Iterator[str]:
    """The lines of the trial of feature_<name>."""
    began, group = time.monotonic(), f"feature_{name}"
    file = Path(FOLDER, f"{group}.sql")
    if not file.exists():
        names = [other.stem.removeprefix("feature_") for other in Path(FOLDER).glob("feature_*.sql")]
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"life-stage new-feature {name} starts it"
        raise TrialError(f"LS-FEA-010 {file} does not exist: {hint}")
    warehouse = paths.warehouse()
    if not warehouse.exists():
        raise TrialError(f"LS-FEA-010 {paths.shown(warehouse)} does not exist: finish a run first, such as make demo")
    plain = plain_sql(group, file.read_text("utf-8"))
    lock(warehouse)
    with duckdb.connect() as connection:
        source = Scratch(connection, warehouse, group, plain or compiled(group, variables))
        yield from rows_of(source)
        yield f"checked     {file}, {time.monotonic() - began:.0f} s"
        source.sql = compiled(group, variables) if plain else source.sql
        yield from compared(source, project_settings() | variables)
    yield f"time        {time.monotonic() - began:.0f} s"


def plain_sql(group: str, text: str) -> dict[str, str]:
    """{group: its SQL}, empty if that needs more of dbt than ref(). Raises TrialError for mistakes of the text."""
    if message := wrong_text(group, text):
        raise TrialError(message)
    if not (found := rendered(text)):
        return {}
    sql, names = found
    seeds = {file.stem for file in Path("seeds").glob("*.csv")}
    models = {file.stem for file in Path("models").rglob("*.sql")}
    for name in names:
        if name not in models | seeds and (near := difflib.get_close_matches(name, {*READABLE, *seeds}, n=1)):
            raise TrialError(
                f"LS-FEA-011 {FOLDER}/{group}.sql reads {name}, which is no model: did you mean {near[0]}?"
            )
    if message := wrong_names(group, names, seeds):
        raise TrialError(message)
    return {group: sql}


def lock(warehouse: Path) -> None:
    """Take the warehouse's lock: a run that starts meanwhile names the trial. Raises TrialError if a run holds it."""
    from dbt_common.exceptions import DbtRuntimeError

    from life_stage.engine.warehouse_lock import take_lock  # loads dbt, which takes two seconds

    try:
        take_lock(warehouse)
    except DbtRuntimeError as error:
        raise TrialError(one_line(error)) from None


def compiled(group: str, variables: Mapping[str, object]) -> dict[str, str]:
    """SQL of the group, COUNTING and NUMBERING on the database `memory`. Raises TrialError for what it may not read."""
    from dbt.cli.main import dbtRunner  # takes two seconds to load

    os.environ["LIFE_STAGE_WAREHOUSE"] = ":memory:"  # compilation opens no warehouse
    options = ["--project-dir", ".", "--profiles-dir", ".", "--target-path", "target/try", "--target", "duckdb"]
    options += ["--log-level", "none", "--log-level-file", "none", "--vars", json.dumps(dict(variables), default=str)]
    parsed = dbtRunner().invoke(["parse", *options])
    if not parsed.success:
        raise TrialError(f"LS-FEA-011 the project cannot be parsed: {one_line(parsed.exception)}")
    nodes = {name: node.to_dict() for name, node in parsed.result.nodes.items()}
    if group not in groups_in(nodes):
        raise TrialError(f"LS-FEA-011 {FOLDER}/{group}.sql is disabled: remove enabled=false")
    if message := wrong_reads(groups_in(nodes)[group]):
        raise TrialError(message)
    chosen = [group, *COUNTING, *NUMBERING]
    done = dbtRunner(manifest=parsed.result).invoke(["compile", *options, "--select", *chosen])
    if not done.success:
        reason = done.exception or next(one.message for one in done.result.results if one.message)
        raise TrialError(f"LS-FEA-011 {FOLDER}/{group}.sql cannot be compiled: {one_line(reason)}")
    return {one.node.name: one.node.compiled_code for one in done.result.results}


def rows_of(source: Scratch) -> Iterator[str]:
    """The lines on the group's rows."""
    columns = source.rows_of_group("complete_rows")
    if message := wrong_columns_of_group(source.group, columns):
        raise TrialError(message)
    shape = next(shape for shape in SHAPES if set(shape) == set(columns))
    n_rows, n_features = source.row("select count(*), count(distinct feature) from complete_rows")
    yield f"returns     {n_rows:,} rows ({', '.join(shape)}), {n_features:,} features"
    if not n_rows:
        raise TrialError(f"LS-FEA-012 {source.file} returns no rows: nothing can be learned from them")
    source.feed(shape)
    yield f"months      the same rows through {source.cut_off(shape)} without later months"


def compared(source: Scratch, settings: Mapping[str, object]) -> Iterator[str]:
    """The lines from the cost of the group on; settings: vars."""
    models = source.connection.sql(f"from {source.production}.stage_coefficients")
    newest = newest_date(models, "trained_through")
    if newest is None:
        raise TrialError("LS-FEA-014 no model was trained: a trial needs a run with enough registered children")
    penalty = penalties_of(models, newest)["inverse_penalty"]
    # Labels from age words would favour groups that read the same words.
    wanted = f"from {source.production}.training_rows where split <> 'test' and label = 'registration'"
    rows = sampled(source.connection.sql(wanted).df())
    began = time.monotonic()
    source.count(rows)
    seconds = time.monotonic() - began
    n_counted, n_all = source.row("select (select count(*) from user_month_features), count(*) from training_features")
    yield f"cost        {n_counted / n_all:.1%} of the stored rows of features, counted in {seconds:.1f} s"
    vocabulary = source.connection.table("training_vocabulary").order("feature_id").df()
    own = source.connection.sql("select distinct feature from user_month_features").df()["feature"]
    is_added = vocabulary["feature"].isin(own).to_numpy()
    n_train, most = (rows["split"] == "train").sum(), vocabulary[is_added].nlargest(N_SHOWN, "n_rows")
    named = ", ".join(f"{one.feature} {one.n_rows / n_train:.0%}" for one in most.itertuples())
    yield f"support     {is_added.sum():,} of {len(own):,} features, on {n_train:,} training rows: {named or 'none'}"
    if not is_added.any():
        yield "verdict     not trained: no feature has as many training rows as var training_min_feature_support"
        return
    tables = (source.connection.sql(f"from {source.production}.{name}") for name in ("age_bins", "stages"))
    ages = read_age_divisions(*tables)
    matrix = source.connection.sql(source.sql["design_matrix"]).fetchnumpy()
    examples = examples_of(rows, matrix, len(vocabulary), rows["month"].max())
    active = examples.active(np.ones(len(vocabulary), bool))
    try:
        found = compare(active, rows["fold"].to_numpy()[examples.is_active], is_added, ages, penalty)
    except NotTrainedError as error:
        raise TrialError(f"LS-FEA-014 the trial cannot be trained: {error}") from None
    n_users, n_months = len(found.months.counts), len(found.months)
    yield f"held out    {n_users:,} users, {n_months:,} months, in {N_FOLDS} folds; no test user"
    for name, (without, with_group), difference in (
        ("log-loss", found.log_losses, found.log_loss),
        ("accuracy", found.accuracies, found.accuracy),
    ):
        yield f"{name:<12}{without:.4f} without, {with_group:.4f} with the group: {difference}"
    yield f"verdict     {found.verdict(settings)}"
    yield from strongest_weights(vocabulary[is_added], found.weights, ages)
    yield from examples_of_users(rows, found, ages)


def sampled(rows: pd.DataFrame) -> pd.DataFrame:
    """The training rows with a fold of their user, numbered anew; at most regularisation.MAX_ROWS."""
    rows = rows.sort_values(["user_id", "month"]).assign(fold=lambda all_rows: folds_of(all_rows["user_no"].to_numpy()))
    rows = rows[rows["fold"] >= 0]
    return rows.assign(row_no=np.arange(1, len(rows) + 1)).reset_index(drop=True)


def strongest_weights(vocabulary: pd.DataFrame, weights: np.ndarray, ages: Ages) -> Iterator[str]:
    """The features with the largest differences of weights, with their extreme age bins."""
    weights = weights / vocabulary["scale"].to_numpy()[:, None]
    for place in np.argsort(-np.ptp(weights, axis=1))[:N_SHOWN]:
        high, low = (
            f"{weights[place, at]:+.2f} at {ages.bin_edges[at]} to {ages.bin_edges[at + 1] - 1} months"
            for at in (weights[place].argmax(), weights[place].argmin())
        )
        yield f"weights     {vocabulary['feature'].iloc[place]}: {high}, {low} (log-odds per unit)"


def examples_of_users(rows: pd.DataFrame, found: Trial, ages: Ages) -> Iterator[str]:
    """The users whose newest month changed most."""
    users = rows.drop_duplicates("user_no").set_index("user_no")["user_id"]
    through = rows["month"].max().to_period("M")
    last = found.months.first_of_users + found.months.counts - 1
    without, with_group = (p[last] for p in found.p)
    for place in np.argsort(-np.abs(with_group - without), kind="stable")[:N_SHOWN]:
        at = last[place]
        yield (
            f"example     user {users[found.months.user[at]]}, {through - found.months.lag[at]},"
            f" {ages.stages[found.stage[at]]}: probability {without[place]:.2f} without, {with_group[place]:.2f} with"
        )
