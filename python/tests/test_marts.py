"""The marts say what the history says: stages and since when, who moved, how many, why, and what they shop for."""

import numpy as np
import pandas as pd
import pytest
from project import copy_shop

FEW = 3
NEWEST = pd.Timestamp("2017-02-01")


@pytest.fixture(scope="module")
def history(base):
    months = base.frame("user_stage_months").sort_values(["user_id", "child_no", "month"], ignore_index=True)
    return months.assign(told=months["stage"].where(months["is_in_stage"]))


@pytest.fixture(scope="module")
def stages(base):
    return [stage for (stage,) in base.query("select stage from stages order by stage_no")]


@pytest.fixture(scope="module")
def open_shop(base, tmp_path_factory):
    """The base with counts of three users told."""
    shop = copy_shop(base, tmp_path_factory.mktemp("open") / "shop")
    shop.build(min_cell_users=FEW)
    return shop


def test_user_stages_are_those_in_a_stage_in_the_newest_month(base, history):
    expected = history[(history["month"] == NEWEST) & history["is_in_stage"]].drop(columns="told")
    found = base.frame("user_stages").sort_values(["user_id", "child_no"], ignore_index=True)
    pd.testing.assert_frame_equal(found, expected.reset_index(drop=True))
    outside = history["not_yet_expecting_probability"] + history["graduated_probability"] > 0.5
    lost = ~history["birth_confirmed"] & (history["stage"] != "pregnancy")
    assert (history["is_in_stage"] == ~(outside | lost)).all() and outside.any() and lost.any()


def test_the_runner_up_is_the_second_most_probable_stage(history, stages):
    p = history[[f"p_{stage}" for stage in stages]].to_numpy()
    order = np.argsort(-p, axis=1, kind="stable")
    names = np.array(stages)[order]
    assert (names[:, 0] == history["stage"]).all() and (names[:, 1] == history["runner_up_stage"]).all()
    np.testing.assert_array_equal(np.sort(p, axis=1)[:, -2], history["runner_up_probability"])
    bands = {"low": history["probability"] < 0.5, "high": history["probability"] >= 0.8}
    for name, rows in bands.items():
        assert (history.loc[rows, "confidence"] == name).all() and rows.any()


def test_a_stage_is_told_since_the_month_it_last_changed(history):
    for _, child in history.groupby(["user_id", "child_no"]):
        since, before = None, object()
        for told, month, found in zip(child["told"].fillna(""), child["month"], child["since_month"], strict=True):
            since = month if told != before else since
            assert found == since
            before = told
    assert (history["since_month"] < history["month"]).any()


def test_a_stage_is_stale_after_half_a_year_without_an_action(history):
    quiet = (history["month"].dt.year - history["last_active_month"].dt.year) * 12
    quiet += history["month"].dt.month - history["last_active_month"].dt.month
    assert (history["is_stale"] == (quiet >= 6)).all() and history["is_stale"].any()


def test_changes_are_the_differences_between_the_last_two_months(base, history):
    told = history.dropna(subset="told").set_index(["user_id", "child_no"])
    now, before = (told.loc[told["month"] == month, "told"] for month in (NEWEST, NEWEST - pd.DateOffset(months=1)))
    both = pd.concat([before.rename("previous_stage"), now.rename("stage")], axis=1).sort_index()
    expected = both[both["previous_stage"].fillna("") != both["stage"].fillna("")]
    found = base.frame("stage_changes").set_index(["user_id", "child_no"]).sort_index()
    pd.testing.assert_frame_equal(found[["previous_stage", "stage"]], expected, check_dtype=False)
    kinds = np.where(expected["previous_stage"].isna(), "entered", np.where(expected["stage"].isna(), "left", "moved"))
    assert list(found["change"]) == list(kinds) and set(kinds) >= {"entered", "moved"}
    assert (found["probability"].isna() == found["stage"].isna()).all()


@pytest.mark.parametrize("few", [FEW, 20, None])
def test_totals_count_children_and_hide_few(base, open_shop, shop, history, stages, few):
    """None: just above the smallest stage of the newest month, so that one cell is small and takes one with it."""
    told = history.dropna(subset="told")
    if few is None:
        few = 1 + told[told["month"] == NEWEST].groupby("told")["user_id"].nunique().min()
        shop.build(min_cell_users=int(few))
        assert shop.frame("stage_totals", "month = '2017-02-01'")["is_suppressed"].sum() == 2
    found = {FEW: open_shop, 20: base}.get(few, shop).frame("stage_totals").set_index(["month", "stage"])
    months = sorted(history["month"].unique())
    assert len(found) == len(months) * len(stages)
    members = {month: rows.set_index(["user_id", "child_no"])["told"] for month, rows in told.groupby("month")}
    nobody = pd.Series(dtype=object, index=pd.MultiIndex.from_arrays([[], []], names=["user_id", "child_no"]))
    for month, rows in found.groupby(level="month"):
        now = members.get(month, nobody)
        before = members.get(month - pd.DateOffset(months=1), nobody)
        users = {stage: now[now == stage].index.get_level_values(0).nunique() for stage in stages}
        small = {stage for stage, n in users.items() if n < few}
        if len(small) == 1:
            small.add(min((stage for stage in stages if stage not in small), key=lambda s: (users[s], stages.index(s))))
        for stage in stages:
            row = rows.loc[(month, stage)]
            assert row["is_suppressed"] == (stage in small)
            if stage in small:
                assert row[["n_children", "n_users", "share", "n_moved_in", "n_moved_out"]].isna().all()
                continue
            here, was_here = set(now.index[now == stage]), set(before.index[before == stage])
            assert (row["n_children"], row["n_users"]) == (len(here), users[stage])
            assert row["share"] == pytest.approx(len(here) / len(now))
            moved_in, moved_out = len(here - was_here), len(was_here - here)
            if month == months[0] or min(moved_in, moved_out) < few:
                assert row[["n_moved_in", "n_moved_out"]].isna().all()
            else:
                assert (row["n_moved_in"], row["n_moved_out"]) == (moved_in, moved_out)
    assert not found["is_suppressed"].all()
    assert found["is_suppressed"].any() if few > FEW else found["n_moved_in"].notna().any()


def test_reasons_add_up_to_the_log_odds_of_the_stage(base):
    reasons = base.frame("stage_reasons")
    children = base.frame("user_stages").set_index(["user_id", "child_no"])
    sums = reasons.groupby(["user_id", "child_no"])["contribution"].sum()
    p = children["probability"].clip(1e-12, 1 - 1e-12)
    expected = np.log(p / (1 - p))
    assert sums.index.equals(children.sort_index().index)
    np.testing.assert_allclose(sums, expected.sort_index(), rtol=0, atol=1e-9)
    assert set(reasons.loc[reasons["place"] == 7, "reason"]) == {"what was known before this month"}
    quiet = children.index[children["last_active_month"] < NEWEST]
    by_child = reasons.set_index(["user_id", "child_no"])
    assert (by_child.loc[quiet, "place"] == 7).all() and len(quiet) > 20


def test_the_reasons_of_a_month_are_its_features_times_their_weights(base, stages):
    """One child by hand: mean weight over the stage's ages, less the other stages' by their probability."""
    bins = base.frame("age_bins").set_index("age_bin")
    edges = base.frame("stages").set_index("stage")
    reasons = base.frame("stage_reasons")
    user, child_no = reasons.loc[reasons["place"] == 5, ["user_id", "child_no"]].iloc[0]
    told = base.frame("user_stages", f"user_id = '{user}' and child_no = {child_no}").iloc[0]
    version = base.query(f"select model_version from stage_evidence where user_id = '{user}' and month = '2017-02-01'")
    weights = base.frame("evidence_weights", f"model_version = '{version[0][0]}'").set_index("feature")
    reading = base.frame("stage_models", f"model_version = '{told['model_version']}'").iloc[0]
    means = {}
    for stage in stages:
        inside = bins[
            (bins["from_month"] >= edges.loc[stage, "from_month"]) & (bins["to_month"] <= edges.loc[stage, "to_month"])
        ]
        width = inside["to_month"] - inside["from_month"]
        means[stage] = sum(weights[f"w_{name}"] * n for name, n in width.items()) / width.sum()
    others = [stage for stage in stages if stage != told["stage"]]
    against = sum(told[f"p_{stage}"] * means[stage] for stage in others) / (1 - told["probability"])
    strength = reading["tau"] * max(told["months_of_evidence"], 1) ** -reading["gamma"]
    features = base.frame("user_month_features", f"user_id = '{user}' and month = '2017-02-01'").set_index("feature")
    expected = (features["value"] * (means[told["stage"]] - against) * strength).dropna()
    expected = expected.loc[expected.abs().sort_values(ascending=False, kind="stable").index]
    found = reasons[(reasons["user_id"] == user) & (reasons["child_no"] == child_no)].set_index("place")
    np.testing.assert_allclose(found.loc[1:5, "contribution"], expected.iloc[:5], rtol=0, atol=1e-8)
    rest = expected.iloc[5:].sum() + strength * (means[told["stage"]] - against)[""]
    assert found.loc[6, "contribution"] == pytest.approx(rest, abs=1e-7)


def test_reasons_are_said_in_words(base):
    said = dict(base.query("select distinct feature, reason from stage_reasons where feature is not null"))
    for feature, reason in said.items():
        family, detail = feature.split("=", 1)
        plain, _, action = detail.rpartition(":")
        bought = action == "purchase"
        met = plain if bought else detail.removesuffix(":collect").removesuffix(":cart")
        assert met.replace("|", " ") in reason, feature
        assert reason.endswith(", bought") == bought and "..." not in reason
        assert "searched for " in reason if family.startswith("search") else "things" in reason or "days" in reason


def test_interests_are_shares_of_a_stage_s_active_users(open_shop):
    found = open_shop.frame("stage_interests").set_index(["stage", "leaf_category"])
    met = pd.DataFrame(
        open_shop.query(
            """select distinct actions.user_id, items.leaf_category from stg_actions as actions
            join stg_items as items using (item_id) where actions.month = '2017-02-01' and leaf_category is not null"""
        ),
        columns=["user_id", "leaf_category"],
    )
    members = open_shop.frame("user_stages")[["user_id", "stage"]].drop_duplicates()
    active = members[members["user_id"].isin(met["user_id"])]
    table = active.merge(met, on="user_id")
    counts = table.groupby(["leaf_category", "stage"]).size()
    shown = set()
    for leaf, of_stages in counts.groupby(level="leaf_category"):
        of_stages = of_stages.droplevel(0)
        small = set(of_stages.index[of_stages < FEW])
        if len(small) == 1 and len(of_stages) > 1:
            rest = [stage for stage in of_stages.index if stage not in small]
            small.add(min(rest, key=lambda stage: (of_stages[stage], stage)))
        for stage in set(of_stages.index) - small:
            row = found.loc[(stage, leaf)]
            share = of_stages[stage] / (active["stage"] == stage).sum()
            n_met = table.loc[table["leaf_category"] == leaf, "user_id"].nunique()
            assert row["n_users"] == of_stages[stage] and row["share"] == pytest.approx(share)
            assert row["lift"] == pytest.approx(share / (n_met / active["user_id"].nunique()))
            shown.add((stage, leaf))
    assert shown == set(found.index) and len(shown) > 3
