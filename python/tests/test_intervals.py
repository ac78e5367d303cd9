"""Intervals and confidence sequences in SQL against NumPy, their false alarms, and verdicts on little data."""

import duckdb
import numpy as np
import pandas as pd
import pytest
from jinja2 import Environment
from project import PROJECT, copy_shop

from life_stage.engine.project_macros import project_settings

SETTINGS = project_settings()
MACROS = (
    Environment(extensions=["jinja2.ext.do"])
    .from_string((PROJECT / "macros" / "intervals.sql").read_text("utf-8"), {"setting": SETTINGS.__getitem__})
    .module
)
N_EXPERIMENTS, N_MONTHS = 2_000, 24
# Users in the first month, new users a month, the probabilities with which users first buy in a month, treated share.
SHOPS = {
    "many at once": (1_000, 0, [0.1], 0.5),
    "growing": (400, 50, [0.1], 0.5),
    "small": (5, 5, [0.3], 0.5),
    "rare purchases": (100, 100, [0.005], 0.5),
    "different users": (100, 50, [0.01, 0.05, 0.3], 0.5),
    "few treated": (400, 50, [0.02, 0.2], 0.1),
}


def limits_of(arms: pd.DataFrame) -> pd.DataFrame:
    """The rows with the limits of interval and sequence; arms: n_treated, n_control, treated_buyers, control_buyers."""
    of_arms = ("treated", "n_treated", "control", "n_control")
    limits = [
        f"{MACROS.newcombe_limit(*of_arms, side, *z)} as {name}_{side}"
        for side in ("lowest", "highest")
        for name, z in (("interval", ()), ("sequence", ("z",)))
    ]
    z = MACROS.sequence_z("(treated_buyers + control_buyers)", "(n_treated + n_control)")
    return duckdb.sql(f"""
        select *, {", ".join(limits)}
        from (
            select *, {z} as z, treated_buyers / nullif(n_treated, 0) as treated,
                control_buyers / nullif(n_control, 0) as control
            from arms
        )
    """).df()


def wilson(n_successes: float, n: float, z: float) -> tuple[float, float]:
    """The shares whose distance from the observed one is z standard errors."""
    centre, width = n_successes + z**2 / 2, z * np.sqrt(n_successes * (n - n_successes) / n + z**2 / 4)
    return (centre - width) / (n + z**2), (centre + width) / (n + z**2)


def newcombe(arms: dict, z: float) -> tuple[float, float]:
    """Newcombe's limits of the difference of the arms."""
    treated, control = (arms[f"{name}_buyers"] / arms[f"n_{name}"] for name in ("treated", "control"))
    low, high = wilson(arms["treated_buyers"], arms["n_treated"], z)
    low_control, high_control = wilson(arms["control_buyers"], arms["n_control"], z)
    difference = treated - control
    return (
        difference - np.hypot(treated - low, high_control - control),
        difference + np.hypot(high - treated, control - low_control),
    )


def mixture_boundary(time: float, alpha: float = 0.05, tightest: float = 500) -> float:
    """Asymptotic confidence sequence of Waudby-Smith et al. (2024) in standard errors, with their rho."""
    rho = np.sqrt((-2 * np.log(alpha) + np.log(-2 * np.log(alpha) + 1)) / tightest)
    return np.sqrt(2 * (time * rho**2 + 1) / (time * rho**2) * np.log(np.sqrt(time * rho**2 + 1) / alpha))


def test_interval_and_sequence_equal_their_formulas():
    dice = np.random.default_rng(1)
    n_treated, n_control = dice.integers(1, 10 ** dice.integers(1, 5, (2, 300)) + 1)
    buyers = {"treated_buyers": dice.binomial(n_treated, 0.2), "control_buyers": dice.binomial(n_control, 0.3)}
    found = limits_of(pd.DataFrame({"n_treated": n_treated, "n_control": n_control, **buyers}))
    for row in found.to_dict("records"):
        n_users, n_buyers = row["n_treated"] + row["n_control"], row["treated_buyers"] + row["control_buyers"]
        z = mixture_boundary(n_users * (n_buyers + 0.5) / (n_users - n_buyers + 0.5))
        np.testing.assert_allclose([row["interval_lowest"], row["interval_highest"]], newcombe(row, 1.959964))
        np.testing.assert_allclose([row["sequence_lowest"], row["sequence_highest"]], newcombe(row, z), rtol=1e-5)


def test_known_intervals_are_reproduced():
    """Newcombe (1998), table II: 56 of 70 and 48 of 80, 9 of 10 and 3 of 10, 10 of 10 and 0 of 10."""
    arms = pd.DataFrame(
        [(70, 80, 56, 48), (10, 10, 9, 3), (10, 10, 10, 0)],
        columns=["n_treated", "n_control", "treated_buyers", "control_buyers"],
    )
    found = limits_of(arms)[["interval_lowest", "interval_highest"]].round(4).to_numpy()
    np.testing.assert_array_equal(found, [[0.0524, 0.3339], [0.1705, 0.8090], [0.6075, 1.0]])


@pytest.mark.parametrize(
    ("arms", "widest"),
    [
        ((0, 10, 0, 5), None),  # an arm without users
        ((1, 1, 1, 0), 2.0),
        ((1, 1, 0, 0), 2.0),
        ((3, 3, 3, 0), 2.0),  # three cases
        ((1_000, 1_000, 0, 0), 2.0),
        ((1_000, 1_000, 10, 0), 0.5),
    ],
)
def test_little_data_gives_wide_limits_within_the_possible(arms, widest):
    columns = ["n_treated", "n_control", "treated_buyers", "control_buyers"]
    (row,) = limits_of(pd.DataFrame([arms], columns=columns)).to_dict("records")
    sequence, interval = ((row[f"{name}_lowest"], row[f"{name}_highest"]) for name in ("sequence", "interval"))
    if widest is None:
        assert np.isnan([*sequence, *interval]).all()
        return
    assert -1 <= sequence[0] < interval[0] <= 0 or sequence[0] <= 0 < interval[0]
    assert interval[1] <= sequence[1] <= 1 and sequence[0] < 0 < sequence[1]
    assert sequence[1] - sequence[0] <= widest


def readings(shop: tuple, seed: int) -> pd.DataFrame:
    """Counts of the arms of N_EXPERIMENTS without an effect at the end of each month: users so far, buyers so far."""
    n_first, n_new, hazards, treated_share = shop
    dice = np.random.default_rng(seed)
    arrived = np.repeat(np.arange(N_MONTHS), [n_first] + [n_new] * (N_MONTHS - 1))
    counts = np.zeros((N_EXPERIMENTS, 4, N_MONTHS))
    for of_experiment in counts:
        bought = arrived + dice.geometric(dice.choice(hazards, len(arrived))) - 1
        is_treated = dice.random(len(arrived)) < treated_share
        groups = (arrived[is_treated], arrived[~is_treated], bought[is_treated], bought[~is_treated])
        of_experiment[:] = [np.cumsum(np.bincount(of, minlength=N_MONTHS)[:N_MONTHS]) for of in groups]
    columns = ["n_treated", "n_control", "treated_buyers", "control_buyers"]
    frame = pd.DataFrame(counts.transpose(0, 2, 1).reshape(-1, 4), columns=columns)
    return frame.assign(experiment=np.repeat(np.arange(N_EXPERIMENTS), N_MONTHS))


def alarms_of(found: pd.DataFrame, name: str) -> pd.Series:
    """Whether the limits exclude 0."""
    return (found[f"{name}_lowest"] > 0) | (found[f"{name}_highest"] < 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOPS)
def test_a_sequence_read_in_24_months_keeps_its_rate_of_false_alarms_and_an_interval_does_not(name):
    """A/A: the sequence at most 5 % plus three standard errors, the interval 5 % in one look and thrice that in 24."""
    found = limits_of(readings(SHOPS[name], seed=1))
    is_ever = {of: alarms_of(found, of).groupby(found["experiment"]).any().mean() for of in ("interval", "sequence")}
    in_one_look = alarms_of(found, "interval").groupby(found["experiment"]).last().mean()
    print(f"{name}: false alarms {is_ever}, interval in the last month alone {in_one_look}")
    tolerance = 3 * np.sqrt(0.05 * 0.95 / N_EXPERIMENTS)
    assert is_ever["sequence"] <= 0.05 + tolerance
    assert in_one_look <= 0.05 + tolerance
    assert is_ever["interval"] > 0.15


@pytest.mark.parametrize(
    ("lowest", "highest", "n_cases", "n_users", "wanted"),
    [
        (0.02, 0.5, 200, 100, "better"),
        (0.02, 0.5, 199, 100, "too few"),
        (0.02, 0.5, 200, 99, "too few"),
        (0.001, 0.5, 200, 100, "not worse"),
        (-0.0019, 0.5, 200, 100, "not worse"),
        (-0.0021, 0.5, 200, 100, "undecided"),
        (-0.5, -0.001, 200, 100, "undecided"),
        (-0.5, -0.0021, 200, 100, "worse"),
        (None, None, None, 0, "too few"),
    ],
)
@pytest.mark.fault("Training", "verdict on a few cases or users", "`too few`")
def test_a_verdict_needs_cases_users_and_more_than_the_margin(lowest, highest, n_cases, n_users, wanted):
    """The margin is 1 % of 0.2."""
    values = (f"cast({'null' if value is None else value} as double)" for value in (lowest, highest, 0.2))
    sql = MACROS.verdict(*values, "null" if n_cases is None else n_cases, n_users)
    assert duckdb.sql(f"select {sql}").fetchall() == [(wanted,)]


@pytest.mark.parametrize("n_of_users", [[1, 1, 1], [6, 6, 6], [10, 1, 1]])
def test_cases_of_one_user_count_as_alike(n_of_users):
    """Three users are worth three cases, and fewer if one of them has most."""
    sql = f"select {MACROS.effective_sample_size('n')} from (select unnest({n_of_users}) as n)"
    ((found,),) = duckdb.sql(sql).fetchall()
    assert found == pytest.approx(3 if len(set(n_of_users)) == 1 else 144 / 102)


def limits_of_users(rows: pd.DataFrame) -> tuple[float, float]:
    """Wilson's limits of the share of right rows, by user_id and is_right, as if those of a user were alike."""
    n_of_users = rows.groupby("user_id").size()
    n = n_of_users.sum() ** 2 / (n_of_users**2).sum()
    assert n <= len(n_of_users)
    return wilson(rows["is_right"].mean() * n, n, 1.959964)


def test_published_shares_have_intervals_that_count_users(evaluated):
    scores = evaluated.frame("household_scores")
    rows = scores[scores["is_published"]].assign(is_right=scores["has_child"])
    children = scores[scores["has_child"]].assign(is_right=scores["is_published"])
    found = evaluated.frame("household_accuracy").set_index(["group_name", "group_value"])
    groups = {("all", "all"): (rows, children)}
    groups |= {("stage", name): (of, children[children["stage"] == name]) for name, of in rows.groupby("stage")}
    groups |= {("confidence", name): (of, None) for name, of in rows.groupby("confidence")}
    assert len(groups) > 8
    for key, (of_rows, of_children) in groups.items():
        row = found.loc[key]
        np.testing.assert_allclose([row["lowest_right_share"], row["highest_right_share"]], limits_of_users(of_rows))
        if of_children is None:
            assert np.isnan([row["lowest_recall"], row["highest_recall"]]).all()
        else:
            np.testing.assert_allclose([row["lowest_recall"], row["highest_recall"]], limits_of_users(of_children))
    curve = evaluated.frame("household_precision_recall").set_index("threshold")
    for threshold in (0.3, 0.9):
        is_predicted = scores["probability"] >= threshold
        predicted = scores[is_predicted].assign(is_right=scores["has_child"])
        found_children = scores[scores["has_child"]].assign(is_right=is_predicted)
        row = curve.loc[threshold]
        np.testing.assert_allclose([row["lowest_precision"], row["highest_precision"]], limits_of_users(predicted))
        np.testing.assert_allclose([row["lowest_recall"], row["highest_recall"]], limits_of_users(found_children))
    predictions = evaluated.frame("stage_predictions", "method = 'birth_month_filter'")
    in_bins = predictions.assign(bin=(predictions["predicted_stage_probability"] * 15).astype(int).clip(upper=14))
    groups = {
        ("stage_accuracy", "accuracy", "cohort = 'all' and period = 'all'"): predictions,
        ("stage_recall", "recall", "stage = 'toddler' and period = 'all'"): predictions[
            predictions["true_stage"] == "toddler"
        ],
        ("stage_recall", "precision", "stage = 'toddler' and period = 'all'"): predictions[
            predictions["predicted_stage"] == "toddler"
        ],
        ("stage_confusion", "share", "true_stage = 'toddler' and predicted_stage = 'nursery'"): predictions[
            predictions["true_stage"] == "toddler"
        ].assign(is_right=predictions["predicted_stage"] == "nursery"),
        ("stage_calibration", "accuracy", "probability_bin = 12"): in_bins[in_bins["bin"] == 12],
    }
    for (table, share, where), rows in groups.items():
        (row,) = evaluated.frame(table, f"method = 'birth_month_filter' and {where}").to_dict("records")
        assert len(rows) > 20
        np.testing.assert_allclose([row[f"lowest_{share}"], row[f"highest_{share}"]], limits_of_users(rows))


def test_interests_have_the_intervals_of_their_stage_s_active_users(evaluated):
    for row in evaluated.frame("stage_interests").to_dict("records"):
        n_active = row["n_users"] / row["share"]
        limits = wilson(row["n_users"], n_active, 1.959964)
        np.testing.assert_allclose([row["lowest_share"], row["highest_share"]], limits, rtol=1e-5)


def test_answers_have_the_limits_of_their_users(evaluated, tmp_path):
    """Users see items an hour before they click on them, and one more: those with many items count as few."""
    shop = copy_shop(evaluated, tmp_path / "shop")
    clicks = """
        select user_id, item_id, min(occurred_at) - interval '1 hour' as answered_at from {actions}
        where action = 'click' and month = '2016-12-01' and user_id < '3' group by all
    """
    seen = f"from ({clicks}) union all select user_id, 'no item', min(answered_at) from ({clicks}) group by all"
    shown = shop.query(f"select user_id, item_id, answered_at from ({seen.format(actions='stg_actions')})")
    answers = pd.DataFrame(shown, columns=["user_id", "item_id", "answered_at"])
    answers = answers.assign(answer_id=answers.index.astype(str), placement="cart", model="habit", rank="1")
    answers.to_parquet(shop.source / "answers.parquet")
    shop.build(only="answer_outcomes", evaluated=True)
    rows = answers[answers["answered_at"].dt.month == 12].assign(is_right=lambda rows: rows["item_id"] != "no item")
    (row,) = shop.frame("answer_outcomes", "month = '2016-12-01'").to_dict("records")
    assert (row["n_items"], row["n_users"], row["n_clicked"]) == (
        len(rows),
        rows["user_id"].nunique(),
        sum(rows["is_right"]),
    )
    assert row["n_users"] > 20 and rows.groupby("user_id").size().nunique() > 3
    limits = [row["lowest_click_through_rate"], row["highest_click_through_rate"]]
    np.testing.assert_allclose(limits, limits_of_users(rows))
    bought = rows.assign(is_right=np.arange(len(rows)) < row["n_bought"])
    limits = [row["lowest_conversion_rate"], row["highest_conversion_rate"]]
    np.testing.assert_allclose(limits, limits_of_users(bought))


@pytest.mark.slow
def test_the_backtest_of_the_outlook_is_at_most_as_certain_as_if_all_its_cases_were_independent(evaluated, tmp_path):
    shop = copy_shop(evaluated, tmp_path / "shop")
    shop.build(only="outlook_backtest", evaluated=True, evaluation_from="2016-11", marts_min_cell_users=1)
    rows = shop.frame("outlook_backtest", "stage = 'all'")
    for share, name, n in (("precision_share", "precision", "n_listed"), ("recall", "recall", "n_movers")):
        known = rows.dropna(subset=share)
        assert len(known) > 2
        limits = known[[f"lowest_{name}", f"highest_{name}"]].to_numpy()
        alone = np.array([wilson(p * n, n, 1.959964) for p, n in zip(known[share], known[n], strict=True)])
        assert (limits[:, 0] <= alone[:, 0] + 1e-9).all() and (limits[:, 1] >= alone[:, 1] - 1e-9).all()
        assert (limits[:, 0] <= known[share]).all() and (known[share] <= limits[:, 1]).all()
