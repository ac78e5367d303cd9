"""Features and log-likelihoods of one month, side by side: the project's SQL and its alternatives.

All read the same four Parquet files (the month's valid actions, features of items and of search terms, feature weights
by age bin) and write log-likelihoods per user, which must be equal. Polars and Spark need `pip install -e '.[peers]'`;
missing ones are skipped. python bench/peers.py [MILLIONS_OF_ACTIONS ...]
"""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import duckdb
import harness
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy.sparse import csr_array

MONTH, USERS_PER_MILLION = "2016-11-01", 58_800
COLUMNS = "user_id, acted_on, month, action, item_id, search_term"
INPUTS = {
    "stg_actions": f"select {COLUMNS} from stg_actions where month = '{MONTH}'",
    "item_features": "from item_features",
    "search_term_features": "from search_term_features",
    "model_weights": "from model_weights where model_version = (select max(model_version) from model_registry)",
}
VIEWS = ("observed_features", "feature_activity", "user_features")
MODELS = ("item_feature_index", "term_feature_index", *VIEWS, "user_month_features", "stage_log_likelihoods")
MAX_EXPLODE = 5  # million actions, beyond which exploded frames exceed the memory


def inputs(millions: float) -> Path:
    """The folder of the four input files and the models' compiled SQL, written once by a run of the monthly job."""
    name = f"peers_{millions:g}".replace(".", "_")  # also the name of the database, without dots
    folder = harness.WORK / f"{name}_{harness.COMMIT}"
    if harness.IS_CHANGED or not (folder / "stage_log_likelihoods.sql").exists():
        users = int(USERS_PER_MILLION * millions)
        source = harness.demo_source(f"{name}_source", users=users, months=1, through="2016-11")
        warehouse = harness.build(source, name)
        folder.mkdir(exist_ok=True)
        with duckdb.connect(str(warehouse), read_only=True) as connection:
            for table, sql in INPUTS.items():
                connection.execute(f"copy ({sql}) to '{folder / table}.parquet'")
            ((version,),) = connection.execute("select max(model_version) from model_registry").fetchall()
        for model in MODELS:
            sql = harness.compiled(name, model, MONTH, version).replace(f'"{name}"."main".', "")
            (folder / f"{model}.sql").write_text(sql)
    return folder


def read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The four files as frames."""
    actions, items, terms, weights = (pd.read_parquet(folder / f"{table}.parquet") for table in INPUTS)
    return actions, items, terms, weights.drop(columns="model_version").set_index("feature")


def connect(folder: Path) -> duckdb.DuckDBPyConnection:
    """A connection on two threads with a view of each file."""
    connection = duckdb.connect()
    connection.execute("set threads = 2")
    for table in INPUTS:
        connection.execute(f"create view {table} as from '{folder / table}.parquet'")
    return connection


def project(folder: Path) -> None:
    """The SQL of the project's models, as `dbt build` runs it."""
    with connect(folder) as connection:
        connection.execute("set preserve_insertion_order = false")
        # Session-category groups and action ids are not compared.
        connection.execute("create view stg_items as select '' as item_id, '' as leaf_category where false")
        actions = f"from '{folder}/stg_actions.parquet'"
        connection.execute(f"create or replace view stg_actions as select *, '' as action_id {actions}")
        for model in MODELS:
            kind, sql = "view" if model in VIEWS else "table", (folder / f"{model}.sql").read_text()
            connection.execute(f"create {kind} {model} as {sql}")
        connection.execute(f"copy stage_log_likelihoods to '{folder}/by_project.parquet'")


def by_hand(folder: Path) -> str:
    """Hand-written SQL for DuckDB and Spark: distinct days per feature, joined with the weights."""
    columns = pq.read_schema(folder / "model_weights.parquet").names
    return harness.queries("peers", bins=[name[2:] for name in columns if name.startswith("w_")])["by hand"]


def duckdb_script(folder: Path) -> None:
    """The hand-written SQL in DuckDB."""
    with connect(folder) as connection:
        connection.sql(by_hand(folder)).write_parquet(f"{folder}/by_duckdb_script.parquet")


def pandas_merge(folder: Path) -> None:
    """The project's algorithm in pandas: integers for text, merges, distinct days, one sparse product."""
    actions, items, terms, weights = read(folder)
    feature_id = pd.Series(np.arange(len(weights)), index=weights.index)
    users, user_no = np.unique(actions["user_id"], return_inverse=True)
    actions = actions.assign(user_no=user_no, day=actions["acted_on"].to_numpy().astype("datetime64[D]").astype(int))
    acted = actions[["user_no", "day", "action", "item_id"]].dropna().drop_duplicates()
    searched = actions[["user_no", "day", "search_term"]].dropna().drop_duplicates()
    by_item, by_term = acted.merge(items, on="item_id"), searched.merge(terms, on="search_term")
    intended = by_item[by_item["action"] != "click"]
    parts = [
        by_item.assign(no=by_item["feature"].map(feature_id)),
        intended.assign(no=(intended["feature"] + ":" + intended["action"]).map(feature_id)),
        by_term.assign(no=by_term["feature"].map(feature_id)),
    ]
    observed = pd.concat([part[["user_no", "day", "no"]].dropna() for part in parts]).drop_duplicates()
    counts = actions.assign(no=("n_actions=" + actions["action"]).map(feature_id)).dropna(subset=["no"])
    days = [of.groupby(["user_no", "no"], sort=False).size().reset_index(name="n") for of in (observed, counts)]
    days = pd.concat(days)
    entries = np.log1p(days["n"]), (days["user_no"], days["no"].astype(int))
    matrix = csr_array(entries, shape=(len(users), len(weights)))
    write(folder, "pandas_merge", users, matrix @ weights.to_numpy() + weights.loc[""].to_numpy(), weights.columns)


def pandas_explode(folder: Path) -> None:
    """The style of notebooks: a list of features per row, exploded, distinct days, and a merge with the weights."""
    actions, items, terms, weights = read(folder)
    item_lists = items.groupby("item_id")["feature"].agg(list)
    term_lists = terms.groupby("search_term")["feature"].agg(list)
    intended = actions[actions["action"].isin(["collect", "cart", "purchase"])]
    with_action = [
        [f"{name}:{action}" for name in names] if isinstance(names, list) else names
        for names, action in zip(intended["item_id"].map(item_lists), intended["action"], strict=True)
    ]
    parts = [actions.assign(feature=actions["item_id"].map(item_lists)), intended.assign(feature=with_action)]
    parts += [actions.assign(feature=actions["search_term"].map(term_lists))]
    observed = pd.concat(parts)[["user_id", "acted_on", "feature"]].dropna().explode("feature")
    days = observed.groupby(["user_id", "feature"])["acted_on"].nunique().rename("n").reset_index()
    counts = actions.assign(feature="n_actions=" + actions["action"]).groupby(["user_id", "feature"]).size()
    days = pd.concat([days, counts.rename("n").reset_index()])
    days = days.merge(weights, left_on="feature", right_index=True)
    sums = days[weights.columns].mul(np.log1p(days["n"]), axis=0).groupby(days["user_id"]).sum()
    sums = sums.reindex(np.unique(actions["user_id"]), fill_value=0) + weights.loc[""]
    write(folder, "pandas_explode", sums.index, sums.to_numpy(), weights.columns)


def polars(folder: Path) -> None:
    """The same joins and sums in Polars, lazily, on two threads."""
    os.environ["POLARS_MAX_THREADS"] = "2"
    import polars as pl

    actions, items, terms, weights = (pl.scan_parquet(folder / f"{table}.parquet") for table in INPUTS)
    weights = weights.drop("model_version")
    bins = [name for name in weights.collect_schema().names() if name != "feature"]
    acted = actions.join(items, on="item_id").select("user_id", "acted_on", "action", "feature")
    with_action = pl.concat_str("feature", pl.lit(":"), "action").alias("feature")
    intended = acted.filter(pl.col("action") != "click").select("user_id", "acted_on", with_action)
    searched = actions.join(terms, on="search_term").select("user_id", "acted_on", "feature")
    observed = pl.concat([acted.drop("action"), intended, searched])
    counts = actions.select("user_id", pl.concat_str(pl.lit("n_actions="), "action").alias("feature"))
    n_days, n_actions = pl.col("acted_on").n_unique().log1p().alias("x"), pl.len().log1p().alias("x")
    by = ("user_id", "feature")
    days = pl.concat([observed.group_by(by).agg(n_days), counts.group_by(by).agg(n_actions)])
    summed = days.join(weights, on="feature").group_by("user_id").agg((pl.col(bins) * pl.col("x")).sum())
    intercept = weights.filter(pl.col("feature") == "").drop("feature")
    scores = actions.select("user_id").unique().join(summed, on="user_id", how="left")
    scores = scores.join(intercept, how="cross", suffix="_0")
    sums = [(pl.col(b).fill_null(0) + pl.col(f"{b}_0")).alias(f"ll{b[1:]}") for b in bins]
    scores.select("user_id", *sums).collect(engine="streaming").write_parquet(folder / "by_polars.parquet")


def spark(folder: Path) -> None:
    """The hand-written SQL in PySpark on local[2]."""
    from pyspark.sql import SparkSession

    session = SparkSession.builder.master("local[2]").config("spark.driver.memory", "8g")
    session = session.config("spark.ui.enabled", "false").config("spark.sql.shuffle.partitions", "8").getOrCreate()
    for table in INPUTS:
        session.read.parquet(str(folder / f"{table}.parquet")).createOrReplaceTempView(table)
    session.sql(by_hand(folder)).write.mode("overwrite").parquet(str(folder / "by_spark.parquet"))
    gateway = session.sparkContext._gateway
    session.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait()  # so that its usage is included


def write(folder: Path, peer: str, users: object, sums: np.ndarray, bins: pd.Index) -> None:
    """Write the log-likelihoods of a peer, one row per user."""
    frame = pd.DataFrame(sums, columns=[f"ll{name[1:]}" for name in bins])
    frame.insert(0, "user_id", np.asarray(users))
    frame.to_parquet(folder / f"by_{peer}.parquet")


PEERS: dict[str, Callable[[Path], None]] = {
    "project": project,
    "duckdb_script": duckdb_script,
    "polars": polars,
    "pandas_merge": pandas_merge,
    "pandas_explode": pandas_explode,
    "spark": spark,
}
NEEDS = {"polars": "polars", "spark": "pyspark"}


def as_a_process(peer: str, folder: Path) -> dict[str, float]:
    """Figures of a process and its children."""
    command = [sys.executable, __file__, "--run", peer, str(folder)]
    return harness.measured(harness.of_children, partial(subprocess.run, command, check=True))


def assert_equal(folder: Path, peer: str) -> None:
    """Assert that a peer's sums equal the project's within 1e-6, for every user and bin."""
    path = folder / f"by_{peer}.parquet"
    ours, theirs = (pd.read_parquet(p).sort_values("user_id") for p in (folder / "by_project.parquet", path))
    bins = [name for name in ours if name.startswith("ll_")]
    assert ours["user_id"].tolist() == theirs["user_id"].tolist(), f"{peer} has other users"
    np.testing.assert_allclose(theirs[bins], ours[bins], rtol=0, atol=1e-6, err_msg=peer)


def main(sizes: list[float]) -> None:
    """Measure the installed peers on each size, in turn, and print."""
    for millions in sizes:
        folder = inputs(millions)
        is_left_out = {"pandas_explode": millions > MAX_EXPLODE} | {
            of: not find_spec(name) for of, name in NEEDS.items()
        }
        peers = [peer for peer in PEERS if not is_left_out.get(peer)]
        found = harness.in_turn({peer: partial(as_a_process, peer, folder) for peer in peers})
        for peer in peers:
            assert_equal(folder, peer)
        n_actions = pq.read_metadata(folder / "stg_actions.parquet").num_rows
        ratios = {peer: harness.ratio(found, peer, "project") for peer in peers}
        packages = ["pandas", *(NEEDS[peer] for peer in peers if peer in NEEDS)]
        figures = {"n_actions": n_actions, "runs": found, "ratio_to_project": ratios}
        harness.keep(f"peers_{millions:g}", figures, *packages)
        harness.show(f"One month, {n_actions:,} actions, whole processes", found, ratios)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        PEERS[sys.argv[2]](Path(sys.argv[3]))
    else:
        main([float(word) for word in sys.argv[1:]] or [1 if harness.QUICK else 4])
