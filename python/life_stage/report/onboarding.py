"""Panels for a source with too few labels, on which no model is trained: what is there, what is missing, what to do."""

import html

import duckdb
import pandas as pd
import yaml

from life_stage.report.markup import Bar, bars
from life_stage.report.panels import Panel, percent

READERS = "No model was trained (LS-ML-001): what the source holds, what is missing, and what to do next."
# Published rows that are right, by the number of training users: bench/learning_curve.py, docs/results.md.
EXPECTED = {347: 0.781, 1_079: 0.815, 3_718: 0.832}
SETTINGS = "dbt_project.yml"
ACTIONS, USERS, MONTHS = "valid actions", "users with actions", "months with actions"
FIT = "percent of item actions in the catalogue"


def min_users() -> int:
    """Var training_min_users of the project."""
    with open(SETTINGS, encoding="utf-8") as file:
        return yaml.safe_load(file)["vars"]["training"]["min_users"]


def read(rows: pd.DataFrame) -> str:
    """How much was read."""
    facts = rows.set_index("fact")["value"]
    return f"{facts[ACTIONS]:,.0f} actions of {facts[USERS]:,.0f} users in {facts[MONTHS]:.0f} months were read"


def labels(rows: pd.DataFrame) -> str:
    """How many training users are there, and how many are missing."""
    found, needed = rows.iloc[0][["training_users", "needed"]]
    missing = (
        f"{needed - found:,} are missing" if found < needed else "which is enough, but training failed (LS-ML-002)"
    )
    return f"{found:,} of {needed:,} training users with one registered child: {missing}"


def label_bars(rows: pd.DataFrame, stages: list[str]) -> str:
    """Training users beside the number that a model needs."""
    found, needed = rows.iloc[0][["training_users", "needed"]]
    return bars([Bar("training users", found, f"{found:,}", thresholds=(needed,))], max(found, needed) * 1.05)


def registered(rows: pd.DataFrame) -> str:
    """The stage with the fewest registered users."""
    fewest = rows.loc[rows["users"].idxmin()]
    return f"{fewest['stage'].capitalize()} has the fewest registered users: {fewest['users']:,}"


def registered_bars(rows: pd.DataFrame, stages: list[str]) -> str:
    """Registered users by stage."""
    return bars(Bar(stage, users, f"{users:,}") for stage, users in rows[["stage", "users"]].itertuples(index=False))


def panels(needed: int) -> list[Panel]:
    """The panels, for the number of training users that a model needs."""
    return [
        Panel(
            "Labels",
            f"""
            select count(distinct training_rows.user_id) as training_users, {needed} as needed,
                (select count(distinct user_id) from stg_children) as registered_users
            from training_rows
            where split = 'train' and is_active and age_months >= (select min(from_month) from age_bins)
                and age_months < (select max(to_month) from age_bins)
            """,
            labels,
            "Users of the training set who registered one child and have an action. Stroke: var training_min_users.",
            label_bars,
        ),
        Panel(
            "Source",
            f"""
            select '{MONTHS}' as fact, count(*) filter (where n_actions > 0) as value from month_calendar
            union all select 'months without', count(*) filter (where n_actions = 0) from month_calendar
            union all select '{ACTIONS}', sum(n_actions) from action_months
            union all select '{USERS}', count(distinct user_id) from stg_actions
            union all select '{FIT}', 100 * sum(n_in_catalogue) / sum(n_item_actions)
                from catalogue_fit
            union all select 'registered users', count(distinct user_id) from stg_children
            union all select 'registered users with an action', count(distinct user_id) from stg_children
                where user_id in (select user_id from user_months)
            """,
            read,
        ),
        Panel(
            "Registered users by stage",
            """
            select stage, count(distinct user_id) as users from stages left join stage_labels
                on age_months >= from_month and age_months < to_month
                and month = (select max(month) from stage_labels)
            group by stage, stage_no order by stage_no
            """,
            registered,
            "In the newest closed month, all users of the registrations in your own source.",
            registered_bars,
        ),
    ]


def next_steps(facts: pd.Series, percent_in_catalogue: float) -> str:
    """What to do, in order of its effect."""
    missing = max(facts["needed"] - facts["training_users"], 0)
    per_user = facts["registered_users"] / max(facts["training_users"], 1) if facts["training_users"] else 1.25
    steps = []
    if missing:
        steps.append(
            f"Find registrations of {missing:,} more training users: about {missing * per_user:,.0f} registered users,"
            " at the present ratio. Birthday clubs, baby lists and age questions are registrations."
        )
        steps.append("Deliver older months: every registered user who was active in one of them counts.")
    else:
        steps.append("Look up LS-ML-002 in the log of the run.")
    if percent_in_catalogue < 95:
        steps.append(f"Complete the items: {100 - percent_in_catalogue:.0f} % of the item actions lack theirs.")
    steps.append("Run make build again: the model is trained by itself, and the stages of all months follow.")
    lines = "".join(f"<li>{html.escape(step)}</li>" for step in steps)
    return f'<article><h3>Next steps</h3><ol class="words">{lines}</ol></article>'


def expected() -> str:
    """The accuracy to expect with more training users."""
    found = bars((Bar(f"{n_users:,} training users", share, percent(share)) for n_users, share in EXPECTED.items()), 1)
    text = "Published rows that were right for simulated shoppers (make experiment); real ones differ."
    return f'<article id="accuracy-to-expect"><h3>Accuracy to expect</h3>{found}<p class="text">{text}</p></article>'


def sections(connection: duckdb.DuckDBPyConnection, stages: list[str]) -> list[str]:
    """The parts of the tab."""
    found = {panel.name: (panel, connection.sql(panel.sql).df()) for panel in panels(min_users())}
    facts = found["Source"][1].set_index("fact")["value"]
    steps = next_steps(found["Labels"][1].iloc[0], facts[FIT])
    return [*(panel.shown(rows, stages) for panel, rows in found.values()), steps, expected()]
