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
from time import monotonic

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from measuring import COMMIT, IS_CHANGED, QUICK, WORK, build, compiled, demo_source, in_turn, keep, ratio
from scipy.sparse import csr_array

MONTH, USERS_PER_MILLION = "2016-11-01", 58_800
INPUTS = {
    "stg_actions": f"from (select user_id, acted_on, month, action, item_id, search_term from stg_actions) "
    f"where month = '{MONTH}'",
    "item_features": "from item_features",
    "search_term_features": "from search_term_features",
    "model_weights": "from model_weights where model_version = (select max(model_version) from model_registry)",
}
MODELS = {
    "item_feature_index": "table",
    "term_feature_index": "table",
    "observed_features": "view",
    "feature_activity": "view",
    "user_features": "view",
    "user_month_features": "table",
    "stage_log_likelihoods": "table",
}
MAX_EXPLODE = 5  # million actions, beyond which exploded frames exceed the memory


def inputs(millions: float) -> Path:
    """The folder of the four input files and the models' compiled SQL, written once by a run of the monthly job."""
    name = f"peers_{millions:g}".replace(".", "_")  # also the name of the database, without dots
    folder = WORK / f"{name}_{COMMIT}"
    if IS_CHANGED or not (folder / "stage_log_likelihoods.sql").exists():
        source = demo_source(f"{name}_source", users=int(USERS_PER_MILLION * millions), months=1, through="2016-11")
        warehouse = build(source, name)
        folder.mkdir(exist_ok=True)
        with duckdb.connect(str(warehouse), read_only=True) as connection:
            for table, sql in INPUTS.items():
                connection.execute(f"copy ({sql}) to '{folder / table}.parquet'")
            ((version,),) = connection.execute("select max(model_version) from model_registry").fetchall()
        for model in MODELS:
            sql = compiled(name, model).replace("__month__", MONTH).replace("__model_version__", version)
            (folder / f"{model}.sql").write_text(sql.replace(f'"{name}"."main".', ""))
    return folder


def read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The four files as frames."""
    actions, items, terms, weights = (pd.read_parquet(folder / f"{table}.parquet") for table in INPUTS)
    return actions, items, terms, weights.drop(columns="model_version").set_index("feature")


def project(folder: Path) -> None:
    """The SQL of the project's models, as `dbt build` runs it."""
    with duckdb.connect() as connection:
        connection.execute("set threads = 2; set preserve_insertion_order = false")
        for table in INPUTS:
            connection.execute(f"create view {table} as from '{folder / table}.parquet'")
        # Session-category groups are not compared.
        connection.execute("create view stg_items as select '' as item_id, '' as leaf_category where false")
        for model, kind in MODELS.items():
            connection.execute(f"create {kind} {model} as {(folder / f'{model}.sql').read_text()}")
        connection.execute(f"copy stage_log_likelihoods to '{folder}/by_project.parquet'")


def duckdb_script(folder: Path) -> None:
    """A hand-written DuckDB script: distinct days per feature, joined with the weights."""
    bins = [c for c in pq.read_schema(folder / "model_weights.parquet").names if c.startswith("w_")]
    sums = ", ".join(f"sum(ln(1 + n_days) * {b}) as ll{b[1:]}" for b in bins)
    total = ", ".join(
        f"coalesce(ll{b[1:]}, 0) + (select {b} from weights where feature = '') as ll{b[1:]}" for b in bins
    )
    with duckdb.connect() as connection:
        connection.execute("set threads = 2")
        for name, table in zip(("actions", "items", "terms", "weights"), INPUTS, strict=True):
            connection.execute(f"create view {name} as from '{folder / table}.parquet'")
        connection.execute(f"""
            copy (
                with observed as (
                    select user_id, acted_on, feature from actions join items using (item_id)
                    union all
                    select user_id, acted_on, feature || ':' || action
                    from actions join items using (item_id) where action <> 'click'
                    union all select user_id, acted_on, feature from actions join terms using (search_term)
                ),
                days as (
                    select user_id, feature, count(distinct acted_on) as n_days from observed group by all
                    union all
                    select user_id, 'n_actions=' || action, count(*) from actions group by user_id, action
                ),
                summed as (select user_id, {sums} from days join weights using (feature) group by user_id)
                select user_id, {total}
                from (select distinct user_id from actions) left join summed using (user_id)
            ) to '{folder}/by_duckdb_script.parquet'""")


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
    days = pd.concat(
        [p.groupby(["user_no", "no"], sort=False).size().reset_index(name="n") for p in (observed, counts)]
    )
    matrix = csr_array(
        (np.log1p(days["n"]), (days["user_no"], days["no"].astype(int))), shape=(len(users), len(weights))
    )
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
    observed = pd.concat(
        [
            actions.assign(feature=actions["item_id"].map(item_lists)),
            intended.assign(feature=with_action),
            actions.assign(feature=actions["search_term"].map(term_lists)),
        ]
    )[["user_id", "acted_on", "feature"]]
    observed = observed.dropna().explode("feature")
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
    observed = pl.concat(
        [
            acted.drop("action"),
            acted.filter(pl.col("action") != "click").select(
                "user_id", "acted_on", pl.concat_str("feature", pl.lit(":"), "action").alias("feature")
            ),
            actions.join(terms, on="search_term").select("user_id", "acted_on", "feature"),
        ]
    )
    counts = actions.select("user_id", pl.concat_str(pl.lit("n_actions="), "action").alias("feature"))
    days = pl.concat(
        [
            observed.group_by("user_id", "feature").agg(pl.col("acted_on").n_unique().log1p().alias("x")),
            counts.group_by("user_id", "feature").agg(pl.len().log1p().alias("x")),
        ]
    )
    summed = days.join(weights, on="feature").group_by("user_id").agg((pl.col(bins) * pl.col("x")).sum())
    intercept = weights.filter(pl.col("feature") == "").drop("feature")
    scores = actions.select("user_id").unique().join(summed, on="user_id", how="left")
    scores = scores.join(intercept, how="cross", suffix="_0")
    sums = [(pl.col(b).fill_null(0) + pl.col(f"{b}_0")).alias(f"ll{b[1:]}") for b in bins]
    scores.select("user_id", *sums).collect(engine="streaming").write_parquet(folder / "by_polars.parquet")


def spark(folder: Path) -> None:
    """The same in PySpark on local[2]: DataFrames, no UDF."""
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as f

    session = SparkSession.builder.master("local[2]").config("spark.driver.memory", "8g")
    session = session.config("spark.ui.enabled", "false").config("spark.sql.shuffle.partitions", "8").getOrCreate()
    actions, items, terms, weights = (session.read.parquet(str(folder / f"{table}.parquet")) for table in INPUTS)
    weights = weights.drop("model_version")
    bins = [name for name in weights.columns if name != "feature"]
    acted = actions.join(f.broadcast(items), "item_id").select("user_id", "acted_on", "action", "feature")
    intended = acted.where("action <> 'click'").withColumn("feature", f.concat_ws(":", "feature", "action"))
    searched = actions.join(f.broadcast(terms), "search_term").select("user_id", "acted_on", "feature")
    observed = acted.drop("action").unionByName(intended.drop("action")).unionByName(searched)
    counts = actions.select("user_id", f.concat(f.lit("n_actions="), "action").alias("feature"))
    days = observed.groupBy("user_id", "feature").agg(f.countDistinct("acted_on").alias("n"))
    days = days.unionByName(counts.groupBy("user_id", "feature").agg(f.count("*").alias("n")))
    scaled = days.join(f.broadcast(weights), "feature")
    summed = scaled.groupBy("user_id").agg(*[f.sum(f.log1p("n") * f.col(b)).alias(b) for b in bins])
    intercept = weights.where("feature = ''").first()
    scores = actions.select("user_id").distinct().join(summed, "user_id", "left")
    sums = [(f.coalesce(b, f.lit(0.0)) + intercept[b]).alias(f"ll{b[1:]}") for b in bins]
    scores.select("user_id", *sums).write.mode("overwrite").parquet(str(folder / "by_spark.parquet"))
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
    """CPU and wall seconds of a process and its children, and the peak memory of the largest of them."""
    began = monotonic()
    process = subprocess.Popen([sys.executable, __file__, "--run", peer, str(folder)], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{peer} ended with {os.waitstatus_to_exitcode(status)}")
    return {
        "cpu_s": used.ru_utime + used.ru_stime,
        "wall_s": monotonic() - began,
        "peak_mb": used.ru_maxrss / 1024,
    }


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
        peers = [p for p in PEERS if find_spec(NEEDS.get(p, "duckdb"))]
        peers = [p for p in peers if p != "pandas_explode" or millions <= MAX_EXPLODE]
        print(f"not run on {millions:g} million: {', '.join(p for p in PEERS if p not in peers) or 'none'}")
        found = in_turn({peer: partial(as_a_process, peer, folder) for peer in peers})
        for peer in peers:
            assert_equal(folder, peer)
        n_actions = pq.read_metadata(folder / "stg_actions.parquet").num_rows
        ratios = {peer: ratio(found, peer, "project") for peer in peers}
        figures = {"n_actions": n_actions, "runs": found, "ratio_to_project": ratios}
        keep(f"peers_{millions:g}", figures, "pandas", *(package for package in NEEDS.values() if find_spec(package)))
        print(f"One month, {n_actions:,} actions, whole processes; medians of {len(found['project'])} rounds:")
        for peer, runs in found.items():
            middle = {key: np.median([run[key] for run in runs]) for key in runs[0]}
            print(
                f"  {peer:16} {middle['cpu_s']:7.1f} CPU-s {middle['wall_s']:7.1f} s {middle['peak_mb']:8,.0f} MiB"
                f" {ratios[peer]:6.2f} x the project"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        PEERS[sys.argv[2]](Path(sys.argv[3]))
    else:
        main([float(word) for word in sys.argv[1:]] or [1 if QUICK else 4])
