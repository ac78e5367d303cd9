"""Cost of scoring a month of 4 million actions: features and log-likelihoods, against a bare scan of their columns.

Compares two methods: distinct days per feature (the project's SQL), and push-down, which sums the weights to one score
per item and action first, without rows per feature. python bench/scoring_cost.py
"""

from statistics import median

import duckdb
from measuring import RUNS, WORK, build, compiled, cpu, demo_source, in_turn, keep, measured, ratio

NAME, MONTH = "month", "2016-11-01"
COLUMNS = ("user_id", "acted_on", "action", "item_id", "search_term")


def connect() -> duckdb.DuckDBPyConnection:
    """A connection to the warehouse, read only, and to an empty scratch file."""
    scratch = WORK / "scratch.duckdb"
    scratch.unlink(missing_ok=True)
    connection = duckdb.connect()
    connection.execute("set threads = 2; set preserve_insertion_order = false; set enable_progress_bar = false")
    connection.execute(f"attach '{WORK / NAME}.duckdb' as {NAME} (read_only)")
    connection.execute(f"attach '{scratch}' as scratch")
    return connection


def run(*statements: str) -> dict[str, float]:
    """CPU seconds of the statements, without opening the files."""
    connection = connect()
    with cpu() as figures:
        for statement in statements:
            connection.execute(statement).fetchall()
    return figures


def project_sql(model: str, model_version: str) -> str:
    """The project's SQL of a model for the month."""
    return compiled(NAME, model).replace("__month__", MONTH).replace("__model_version__", model_version)


def pushed_down(model_version: str, bins: list[str]) -> str:
    """SQL of the push-down method: sum over distinct (day, action, item) of the item's summed weights."""
    scored = ", ".join(f"round(sum(w_{b}) * 68719476736) / 68719476736 as w_{b}" for b in bins)
    sums = ", ".join(
        f"(coalesce(sum(items.w_{b}), 0) + coalesce(sum(terms.w_{b}), 0)) / sqrt(greatest(1, total)) as ll_{b}"
        for b in bins
    )
    return f"""
        create table scratch.pushed_down as
        with weights as (select * from {NAME}.model_weights where model_version = '{model_version}'),
        carried as (
            select item_id, action, case when own then feature else concat(feature, ':', action) end as feature
            from {NAME}.item_features
            cross join (values ('click', true), ('collect', true), ('cart', true), ('purchase', true),
                ('collect', false), ('cart', false), ('purchase', false)) as of_action(action, own)
        ),
        items as (
            select item_id, action, count(*) as n, {scored} from carried join weights using (feature) group by all
        ),
        terms as (
            select search_term, count(*) as n, {scored}
            from {NAME}.search_term_features join weights using (feature) group by all
        ),
        observed as (
            select distinct user_id, acted_on, action, item_id, search_term
            from {NAME}.stg_actions
            where month = '{MONTH}'
        )
        select user_id, sum(coalesce(items.n, 0) + coalesce(terms.n, 0)) as total, {sums}
        from observed left join items using (item_id, action) left join terms using (search_term)
        group by user_id"""


def main() -> None:
    """Measure and print."""
    build(demo_source(NAME, users=245_000, months=1, through="2016-11"), NAME)
    connection = connect()
    ((version, n_actions),) = connection.execute(
        f"select (select max(model_version) from {NAME}.model_registry), count(*) from {NAME}.stg_actions"
    ).fetchall()
    bins = [name for (name,) in connection.execute(f"select age_bin from {NAME}.age_bins order by bin_no").fetchall()]
    columns = [f"max({column})" for column in COLUMNS]
    features = project_sql("user_month_features", version)
    log_likelihood = project_sql("stage_log_likelihoods", version)
    from_scratch = log_likelihood.replace(f'"{NAME}"."main"."user_month_features"', "scratch.user_month_features")
    assert from_scratch != log_likelihood
    connection.close()
    pieces = {
        "bare scan": [f"select {', '.join(columns)} from {NAME}.stg_actions where month = '{MONTH}'"],
        "features and log-likelihoods": [
            f"create table scratch.user_month_features as {features}",
            f"create table scratch.stage_log_likelihoods as {from_scratch}",
        ],
        "push-down": [pushed_down(version, bins)],
    }
    found = in_turn({name: lambda work=work: measured(run, *work) for name, work in pieces.items()})
    ratios = {name: ratio(found, name, "bare scan") for name in pieces}
    keep("scoring_cost", {"n_actions": n_actions, "runs": found, "ratio_to_bare_scan": ratios})
    print(f"One month, {n_actions:,} actions, {len(COLUMNS)} columns read, {len(bins)} bins; medians of {RUNS} rounds:")
    for name, runs in found.items():
        middle = median(figures["cpu_s"] for figures in runs)
        print(f"  {name:22} {middle:6.2f} CPU-s  {ratios[name]:5.0f} x the bare scan")


if __name__ == "__main__":
    main()
