"""Online experiments: nominal rate of false alarms in A/A runs, and correct counts of the readout."""

import numpy as np
import pandas as pd
import pytest
from test_intervals import alarms_of, limits_of

from life_stage_checkout.answers import PublishedSet

N_EXPERIMENTS = 400
# Users and buyers of both arms through each month from a first one on, one row per experiment and month.
BY_MONTH = """
    with
        months as (select distinct month from user_months where month >= date '{first}'),
        users as (
            select user_id, min(month) as arrived, min(month) filter (user_id || month in (
                select user_id || month from stg_actions where action = 'purchase'
            )) as bought
            from user_months where month >= date '{first}' group by user_id
        )
    select experiment, months.month,
        count(*) filter (arm = 'treatment') as n_treated,
        count(*) filter (arm = 'control') as n_control,
        count(*) filter (arm = 'treatment' and bought <= months.month) as treated_buyers,
        count(*) filter (arm = 'control' and bought <= months.month) as control_buyers
    from months join users on arrived <= months.month join experiment_arms using (user_id)
    group by all order by experiment, months.month
"""


def experiments(n: int, share: float = 0.5, first_month: str = "2016-09") -> list[dict]:
    return [{"name": f"trial_{number}", "first_month": first_month, "treated_share": share} for number in range(n)]


def read_out(shop, wanted: list[dict]) -> None:
    shop.build(only="experiments experiment_arms experiment_readout", evaluated=True, experiments=wanted)


def monthly_readings(rows: list[tuple]) -> tuple[pd.DataFrame, dict[str, int]]:
    """The limits after each month, and in how many splits those of interval and sequence ever exclude 0."""
    columns = ["experiment", "month", "n_treated", "n_control", "treated_buyers", "control_buyers"]
    found = limits_of(pd.DataFrame(rows, columns=columns))
    splits = found["experiment"]
    is_ever = {name: int(alarms_of(found, name).groupby(splits).any().sum()) for name in ("interval", "sequence")}
    print(f"splits of {splits.nunique()} with a false alarm in one of {found['month'].nunique()} months: {is_ever}")
    return found, is_ever


@pytest.mark.slow
def test_an_experiment_without_effect_has_the_nominal_false_alarm_rate(shop):
    """Without treatment about 20 of 400 intervals exclude 0, and no sample ratio mismatch is reported."""
    read_out(shop, experiments(N_EXPERIMENTS))
    rows = shop.frame("experiment_readout")
    alarms = ((rows["lowest_difference"] > 0) | (rows["highest_difference"] < 0)).sum()
    assert len(rows) == N_EXPERIMENTS and 8 <= alarms <= 36, "within three and a half standard deviations of 20"
    assert rows["has_ratio_mismatch"].sum() <= 3
    assert np.corrcoef(rows["treated_conversion"], rows["control_conversion"])[0, 1] < 0, "one splits the same users"
    assert set(rows["verdict"]) <= {"too few", "undecided", "not worse"}


@pytest.mark.slow
@pytest.mark.fault("Training", "experiment without effect, read every month", "nominal rate of false alarms")
def test_an_experiment_without_effect_that_is_read_every_month_keeps_the_nominal_rate_by_its_sequence(shop):
    """The same users in 400 splits: at most 36 of 400 sequences, and more intervals, exclude 0 in one of six months."""
    read_out(shop, experiments(N_EXPERIMENTS))
    found, is_ever = monthly_readings(shop.query(BY_MONTH.format(first="2016-09-01")))
    assert found["month"].nunique() == 6
    assert is_ever["sequence"] <= 36 < is_ever["interval"]
    last = found.groupby("experiment").last().sort_index()
    rows = shop.frame("experiment_readout").set_index("experiment").sort_index()
    for name, wanted in (("difference", "interval"), ("in_sequence", "sequence")):
        for side in ("lowest", "highest"):
            np.testing.assert_allclose(rows[f"{side}_{name}"], last[f"{wanted}_{side}"])


def test_the_readout_counts_those_who_came_and_those_who_bought_and_answers_tell_the_same_arms(shop):
    wanted = experiments(2, share=0.3)
    read_out(shop, wanted)
    served = PublishedSet(shop.folder, "", None, {}, {each["name"]: each["treated_share"] for each in wanted})
    told = {
        (name, user): arm
        for (user,) in shop.query("select distinct user_id from user_months")
        for name, arm in served.arms_of(user).items()
    }
    assert told == {row[:2]: row[2] for row in shop.query("select experiment, user_id, arm from experiment_arms")}
    arms = shop.frame("experiment_arms", "experiment = 'trial_1'").set_index("user_id")["arm"]
    actions = shop.frame("stg_actions", "month >= date '2016-09-01' and month in (select month from user_months)")
    bought = actions.assign(bought=actions["action"] == "purchase").groupby("user_id")["bought"].any()
    (row,) = shop.frame("experiment_readout", "experiment = 'trial_1'").to_dict("records")
    of_arms = bought.groupby(arms.reindex(bought.index))
    assert [row["n_treated"], row["n_control"]] == [of_arms.size()["treatment"], of_arms.size()["control"]]
    assert row["treated_conversion"] == pytest.approx(of_arms.mean()["treatment"])
    variances = of_arms.mean() * (1 - of_arms.mean()) / of_arms.size()
    assert row["difference_error"] == pytest.approx(np.sqrt(variances.sum()))
    assert row["n_treated"] / len(bought) == pytest.approx(0.3, abs=0.08)


@pytest.mark.slow
def test_a_skewed_sample_is_noticed(shop):
    """Treated users without a purchase are lost, and the readout warns of the mismatch."""
    read_out(shop, experiments(1))
    shop.change(
        """delete from user_months where hash(user_id) % 2 = 0
        and user_id in (select user_id from experiment_arms where arm = 'treatment')"""
    )
    read_out(shop, experiments(1))
    assert shop.query("select has_ratio_mismatch from experiment_readout") == [(True,)]


@pytest.mark.slow
def test_assignments_are_stable_and_experiments_independent(shop):
    read_out(shop, experiments(2))
    before = shop.frame("experiment_arms")
    together = before.pivot(index="user_id", columns="experiment", values="arm")
    agree = (together["trial_0"] == together["trial_1"]).mean()
    assert agree == pytest.approx(0.5, abs=0.1)
    read_out(shop, experiments(1))
    after = shop.frame("experiment_arms")
    assert after.equals(before[before["experiment"] == "trial_0"].reset_index(drop=True))
