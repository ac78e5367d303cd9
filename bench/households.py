"""Published rows of everybody against the simulator's truth, for shops with few and with many childless shoppers.

A third of the users have their registrations hidden: they are scored. The models are trained through August 2016; the
six months after it are scored by them, as in production with retrain_every_months 0. python bench/households.py
"""

import sys
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from measuring import build, dbt, demo_source, keep
from truth import scores_of

SHARES = (0.04, 0.5)
SEEDS = (1, 2, 3)
TRAINED_THROUGH, NEWEST = "2016-08", "2017-02"
HIDDEN = "cast('0x' || left(md5(concat(user_id, 'hidden')), 8) as bigint) / 4294967296.0 < 0.33"
POPULATION = f"""
    create temp table scored as select distinct user_id from user_stage_months where {HIDDEN};
    create temp table children as
    select cast(user_id as string) as user_id, birth_date from '{{source}}/truth/children.parquet'
    where cast(user_id as string) in (from scored);
    create temp table months as select distinct month from user_stage_months where month > date '{TRAINED_THROUGH}-01';
    create temp table truth as
    select distinct user_id, month, stage
    from children cross join months
    join stages on datediff('month', birth_date, month) between from_month and to_month - 1;
    create temp table published as
    select rows.*, truth.stage is not null as is_right
    from user_stage_months as rows join scored using (user_id) join months using (month)
    left join truth using (user_id, month, stage)
    where rows.is_in_stage;
    create temp table households as
    select households.user_id, households.month, stages.stage, truth.stage is not null as has_child,
        (1 - no_child_probability) * case stages.stage {{probability}} end as probability
    from household_stages as households join scored using (user_id) join months using (month) cross join stages
    left join truth on (truth.user_id, truth.month, truth.stage) = (households.user_id, households.month, stages.stage);
"""
GROUPS = {
    "all rows": "true",
    "newest month": f"month = date '{NEWEST}-01'",
    "first children": "is_primary",
    "further children": "not is_primary",
    "confidence high": "confidence = 'high'",
    "confidence medium": "confidence = 'medium'",
    "confidence low": "confidence = 'low'",
}
FIGURES = {
    "recall": """
        select avg(cast(published.stage is not null as integer)) from truth
        left join (select distinct user_id, month, stage from published) as published using (user_id, month, stage)
    """,
    "childless with a row": """
        select avg(cast(user_id in (select user_id from published) as integer)) from (
            select user_id from scored where user_id not in (select user_id from children)
        )
    """,
    "childless with a row in the newest month": f"""
        select avg(cast(user_id in (select user_id from published where month = date '{NEWEST}-01') as integer)) from (
            select user_id from scored where user_id not in (select user_id from children)
        )
    """,
    "household log-loss": """
        select sum(- ln(greatest(case when has_child then probability else 1 - probability end, 1e-4)))
            / count(distinct (user_id, month))
        from households
    """,
    "calibration error": """
        select sum(abs(gap)) / sum(n) from (
            select sum(cast(is_right as integer) - probability) as gap, count(*) as n
            from published group by least(floor(probability * 15), 14)
        )
    """,
    "entries of further children, largest month over median": """
        select max(n) / median(n) from (
            select count(*) as n from user_stage_months
            where is_in_stage and not is_primary and source = 'inferred' and since_month = month
            and month >= date '2015-09-01' group by month
        )
    """,
    "changes back within two months, per user and year": """
        select 12 * sum(cast(stage = before_last and stage <> last as integer)) / count(*) from (
            select stage, lag(stage) over months as last, lag(stage, 2) over months as before_last
            from user_stage_months join scored using (user_id)
            window months as (partition by user_id, child_no order by month)
        )
    """,
    "longest inferred stage, months beyond its length": """
        select max(datediff('month', since_month, month) + 1 - (to_month - from_month))
        from user_stage_months join stages using (stage) where is_in_stage and source = 'inferred'
    """,
    "estimated share of childless among the unregistered": "select max(childless_share) from household_weights",
    "true share, none expected by then": """
        select avg(cast(user_id not in (
            select cast(user_id as string) from '{source}/truth/children.parquet'
            where birth_date < date '{trained_through}-01' + interval 10 month
        ) as integer))
        from (select distinct user_id from birth_month_filter where month = date '{trained_through}-01')
        where user_id not in (select user_id from stg_children)
    """,
    "true share, none later either": """
        select avg(cast(user_id not in (
            select cast(user_id as string) from '{source}/truth/children.parquet'
        ) as integer))
        from (select distinct user_id from birth_month_filter where month = date '{trained_through}-01')
        where user_id not in (select user_id from stg_children)
    """,
}
# Months from the true change of stage to the published one, of one-child users whose change is published at all.
LATENCY = """
    with alone as (select user_id, min(birth_date) as birth_date from children group by user_id having count(*) = 1),
    changes as (
        select user_id, stage, date_trunc('month', birth_date) + from_month * interval 1 month as changed
        from alone cross join stages
    ),
    firsts as (select user_id, stage, min(month) as published from published group by user_id, stage)
    select median(datediff('month', changed, published)) from changes join firsts using (user_id, stage)
    where changed between (select min(month) from months) and (select max(month) from months)
"""
ONE_CHILD = """
    select truth.stage as true_stage, rows.* from user_stage_months as rows join truth using (user_id, month)
    where rows.is_primary and rows.user_id in (select user_id from children group by user_id having count(*) = 1)
"""


def hidden_source(seed: int, share: float) -> Path:
    """A simulated source without the registrations of the scored users."""
    name = f"households{seed}_{int(100 * share)}"
    source = demo_source(name, users=14_000, months=24, through=NEWEST, seed=seed, childless=share)
    registered, hidden = source / "truth" / "registered.parquet", source / "children.parquet"
    if not registered.exists():
        hidden.rename(registered)
        duckdb.sql(f"copy (from '{registered}' where not ({HIDDEN})) to '{hidden}' (format parquet)")
    return source


def measured(seed: int, share: float) -> dict[str, object]:
    """Figures and groups of one source."""
    source, name = hidden_source(seed, share), f"households{seed}_{int(100 * share)}"
    warehouse = build(source, name, checkout_months=0, through_month=TRAINED_THROUGH)
    dbt(
        source, name, "build", "--exclude-resource-type", "test", "unit_test", checkout_months=0, retrain_every_months=0
    )
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        stages = [stage for (stage,) in connection.sql("select stage from stages order by stage_no").fetchall()]
        probability = " ".join(f"when '{stage}' then h_{stage}" for stage in stages)
        connection.execute(POPULATION.format(source=source, probability=probability))
        facts = {"source": source, "trained_through": TRAINED_THROUGH}
        figures = {name: connection.sql(sql.format(**facts)).fetchall()[0][0] for name, sql in FIGURES.items()}
        figures["months from a change of stage to its publication"] = connection.sql(LATENCY).fetchall()[0][0]
        groups = GROUPS | {stage: f"stage = '{stage}'" for stage in stages}
        found = [
            {"group": name, **connection.sql(f"""
                select count(*) as n_rows, avg(cast(is_right as int)) as right_share, avg(probability) as probability
                from published where {condition}""").df().iloc[0].to_dict()}
            for name, condition in groups.items()
        ]  # fmt: skip
        figures |= one_child(connection.sql(ONE_CHILD).df(), stages)
    return {
        "seed": seed,
        "childless_share": share,
        "figures": {name: round(float(value), 4) for name, value in figures.items()},
        "groups": pd.DataFrame(found).round(4).to_dict("split", index=False),
    }


def one_child(rows: pd.DataFrame, stages: list[str]) -> dict[str, float]:
    """Accuracy, macro recall and log-loss of the first child's stage, of users with one child."""
    p = np.maximum(rows[[f"p_{stage}" for stage in stages]].to_numpy(), 1e-6)
    scores = scores_of(rows, p / p.sum(axis=1, keepdims=True), stages)
    names = {"accuracy": "accuracy", "macro_recall": "macro recall", "log_loss": "log-loss"}
    return {f"one-child {shown}": scores[name] for name, shown in names.items()}


def all_measured() -> list[dict[str, object]]:
    """Every seed and share, with progress."""
    found = []
    for share in SHARES:
        for seed in SEEDS:
            found.append(measured(seed, share))
            done = f"{len(found)} of {len(SHARES) * len(SEEDS)}"
            print(f"households: {done} done", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Measure every seed and share, and store the figures."""
    keep("households", {"runs": all_measured()})


if __name__ == "__main__":
    main()
