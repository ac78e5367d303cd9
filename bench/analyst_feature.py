"""Benefit of a feature that an analyst adds as one SQL file: python bench/analyst_feature.py.

Simulated dwell times grow with the true age of the child, a signal that no feature of the project uses. One added
feature group uses it; another is noise. Each has its own project copy and warehouse.
"""

import shutil
from pathlib import Path

import duckdb
import numpy as np
import yaml
from held_out import Scores
from measuring import PROJECT, WORK, build, demo_source, keep

GROUPS = {
    "dwell": """
        -- Dwell time, simulated to grow with the child's age.
        select
            user_id,
            month,
            concat('dwell=', cast(least(floor(avg(dwell_seconds) / 10), 12) as integer)) as feature,
            1 as value
        from {{ ref("stg_actions") }} where dwell_seconds is not null group by user_id, month
    """,
    "noise": """
        -- Noise, independent of the child's age.
        select distinct user_id, month, concat('noise=', left(md5(concat(user_id, month)), 1)) as feature, 1 as value
        from {{ ref("stg_actions") }}
    """,
}


def source_with_dwell_times() -> Path:
    """Demo data with exponential dwell times; mean: 20 + age of the first child in months, at least 5 seconds."""
    plain, folder = demo_source("demo14", users=14_000, months=24, through="2017-02"), WORK / "dwell"
    if folder.exists():
        return folder
    with duckdb.connect() as connection:
        connection.execute("select setseed(0.5)")
        connection.execute(f"""create table births as
            select cast(user_id as varchar) as user_id, min(birth_date) as birth_date
            from '{plain}/truth/children.parquet' group by all""")
        for file in sorted((plain / "actions").rglob("*.parquet")):
            target = folder / file.relative_to(plain)
            target.parent.mkdir(parents=True)
            connection.execute(f"""copy (
                select actions.* exclude (dwell_seconds), - ln(1 - random()) * greatest(5, 20 + coalesce(
                    date_diff('month', birth_date, try_cast(occurred_at as timestamp)), 30)) as dwell_seconds
                from read_parquet('{file}', hive_partitioning = false) as actions
                left join births on cast(actions.user_id as varchar) = births.user_id
            ) to '{target}'""")
    for name in ("items.parquet", "children.parquet"):
        shutil.copy(plain / name, folder)
    return folder


def project_with(group: str | None) -> Path:
    """A copy of the project, with one more feature group, if any."""
    folder = WORK / f"project_{group}"
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("models", "macros", "seeds", "tests"):
        shutil.copytree(PROJECT / name, folder / name)
    for name in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(PROJECT / name, folder)
    (folder / "python").symlink_to(PROJECT / "python")
    if group:
        (folder / f"models/life_stage/features/feature_{group}.sql").write_text(GROUPS[group])
    return folder


def scores_with(group: str | None) -> Scores:
    """Build, and read the predictions for the test users."""
    listed = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["vars"]["features"]
    features = [*listed, *([f"feature_{group}"] if group else [])]
    warehouse = build(source_with_dwell_times(), f"with_{group}", project_with(group), features=features)
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        predicted = connection.sql(
            """select predicted_stage = true_stage as is_right, - ln(true_stage_probability) as log_loss, user_id
            from stage_predictions where method = 'birth_month_filter' order by user_id, month"""
        ).fetchnumpy()
    return Scores(
        predicted["is_right"],
        predicted["log_loss"],
        np.unique(predicted["user_id"].astype(str), return_inverse=True)[1],
    )


def main() -> None:
    """Build three warehouses and compare."""
    default, figures = scores_with(None), {}
    print(f"default features: {default.text()}")
    for group in GROUPS:
        figures[group] = scores_with(group).against(default)
        print(f"with feature_{group}: {figures[group]}", flush=True)
    keep("analyst_feature", figures)


if __name__ == "__main__":
    main()
