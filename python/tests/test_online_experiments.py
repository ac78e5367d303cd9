"""Online experiments: nominal rate of false alarms in A/A runs, and correct counts of the readout."""

import numpy as np
import pytest

from life_stage_checkout.answers import PublishedSet

N_EXPERIMENTS = 400


def experiments(n: int, share: float = 0.5) -> list[dict]:
    return [{"name": f"trial_{number}", "first_month": "2016-09", "treated_share": share} for number in range(n)]


def read_out(shop, wanted: list[dict]) -> None:
    shop.build(only="experiments experiment_arms experiment_readout", evaluated=True, experiments=wanted)


@pytest.mark.slow
def test_an_experiment_without_effect_has_the_nominal_false_alarm_rate(shop):
    """Without treatment about 20 of 400 intervals exclude 0, and no sample ratio mismatch is reported."""
    read_out(shop, experiments(N_EXPERIMENTS))
    rows = shop.frame("experiment_readout")
    alarms = ((rows["lowest_difference"] > 0) | (rows["highest_difference"] < 0)).sum()
    assert len(rows) == N_EXPERIMENTS and 8 <= alarms <= 36, "within three and a half standard deviations of 20"
    assert rows["has_ratio_mismatch"].sum() <= 3
    assert np.corrcoef(rows["treated_conversion"], rows["control_conversion"])[0, 1] < 0, "one splits the same users"


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
