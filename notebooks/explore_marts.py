"""Tour of the marts, and a feature tried before it is written.

Needs a finished run. Read and change it with marimo (`.venv/bin/marimo edit notebooks/explore_marts.py`) after
`.venv/bin/python -m pip install -e '.[notebook]'`; as a plain program it prints what its cells find.
"""

import marimo

app = marimo.App(width="medium")


@app.cell
def _():
    import os
    from pathlib import Path

    import duckdb

    published = Path(os.environ.get("LIFE_STAGE_PUBLISHED", "published"))
    marts = duckdb.connect(str(published / "life_stage.duckdb"), read_only=True)
    stages = marts.sql(
        """
        select stage, count(*) as n_children, avg(probability) as mean_probability
        from user_stages join stages using (stage) group by stage, stage_no order by stage_no
        """
    ).df()
    print("Children by stage, with their mean probability:", stages, sep="\n")
    return duckdb, marts, os


@app.cell
def _(marts):
    user_id, child_no = marts.sql(
        "select user_id, child_no from stage_reasons where rank = 5 order by all limit 1"
    ).fetchall()[0]
    history = marts.execute(
        "select month, stage, probability from user_stage_months where user_id = ? and child_no = ? order by month",
        [user_id, child_no],
    ).df()
    reasons = marts.execute(
        "select reason, contribution from stage_reasons where user_id = ? and child_no = ? order by rank",
        [user_id, child_no],
    ).df()
    print(f"Months of child {child_no} of {user_id}:", history, "Attributions of the last:", reasons, sep="\n")
    return


@app.cell
def _(duckdb, os):
    # A feature is useful if it differs between stages. Example: the share of a month's actions after 20 o'clock by the
    # registered child's stage, with two standard errors over users.
    warehouse = duckdb.connect(os.environ.get("LIFE_STAGE_WAREHOUSE", "warehouse/life_stage.duckdb"), read_only=True)
    tried = warehouse.sql(
        """
        with shares as (
            select user_id, month, avg(case when hour(occurred_at) >= 20 then 1.0 else 0.0 end) as evening_share
            from stg_actions group by user_id, month
        ),
        of_users as (
            select stages.stage_no, stages.stage, shares.user_id, avg(evening_share) as evening_share
            from shares
            join stage_labels as labels on shares.user_id = labels.user_id and shares.month = labels.month
            join stages on labels.age_months >= stages.from_month and labels.age_months < stages.to_month
            where labels.split = 'train' and labels.n_children = 1
            group by all
        )
        select stage, count(*) as n_users, avg(evening_share) as evening_share,
            2 * stddev_samp(evening_share) / sqrt(count(*)) as two_errors
        from of_users group by stage_no, stage order by stage_no
        """
    ).df()
    print("Share of actions in the evening, by registered stage:", tried, sep="\n")
    print("If the stages differ by more than their errors: life-stage new-feature evening_share")
    return


if __name__ == "__main__":
    app.run()
