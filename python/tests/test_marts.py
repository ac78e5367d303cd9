"""Marts against the history: stages with their start, transitions, counts, attributions and interests."""

import numpy as np
import pandas as pd
import pytest
from project import assert_same, copy_shop

from life_stage.filtering.birth_months import Ages
from life_stage.readout.readout import TERMS
from life_stage.training.model_rows import read_readout

FEW = 3
NEWEST = pd.Timestamp("2017-02-01")
MONTH = pd.DateOffset(months=1)


def test_every_published_column_has_a_description(base):
    dictionary = pd.read_csv(base.published / "dictionary.csv", encoding="utf-8-sig")
    assert {"user_stages", "user_stage_months"} <= set(dictionary["mart"])
    assert list(dictionary.loc[dictionary["description"].isna(), "mart"].unique()) == []


@pytest.fixture(scope="module")
def history(evaluated):
    months = evaluated.frame("user_stage_months").sort_values(["user_id", "child_no", "month"], ignore_index=True)
    return months.assign(published=months["stage"].where(months["is_in_stage"]))


@pytest.fixture(scope="module")
def stages(evaluated):
    return [stage for (stage,) in evaluated.query("select stage from stages order by stage_no")]


@pytest.fixture(scope="module")
def open_shop(evaluated, tmp_path_factory):
    """The shop with counts published from three users on."""
    shop = copy_shop(evaluated, tmp_path_factory.mktemp("open") / "shop")
    shop.build(only="stage_totals stage_interests", marts_min_cell_users=FEW)
    return shop


def test_user_stages_are_those_in_a_stage_in_the_newest_month(evaluated, history):
    expected = history[(history["month"] == NEWEST) & history["is_in_stage"]].drop(columns="published")
    found = evaluated.frame("user_stages").sort_values(["user_id", "child_no"], ignore_index=True)
    pd.testing.assert_frame_equal(found, expected.reset_index(drop=True))
    lost = ~history["birth_confirmed"] & (history["stage"] != "pregnancy")
    lasts = history["stage"].map(dict(evaluated.query("select stage, to_month - from_month from stages")))
    since = (history["month"].dt.year - history["since_month"].dt.year) * 12
    since += history["month"].dt.month - history["since_month"].dt.month
    in_stage, inferred = history["is_in_stage"], history["source"] == "inferred"
    assert (history.loc[in_stage, "probability"] >= 0.4).all()
    assert not (in_stage & (lost | (inferred & (since >= lasts)))).any()
    assert history.loc[~in_stage, "since_month"].isna().all()
    # A probable stage of the first child is not published for one of three reasons.
    registered = evaluated.frame("registered_births")
    keys = [pd.MultiIndex.from_frame(frame[["user_id", "month"]]) for frame in (history, registered)]
    numbered = [pd.MultiIndex.from_frame(frame[["user_id", "child_no", "month"]]) for frame in (history, registered)]
    is_beside = keys[0].isin(keys[1]) & ~numbered[0].isin(numbered[1]) & (history["probability"] < 0.7)
    n_months = history[in_stage].groupby(["user_id", "child_no", "stage"]).size()
    of_stage = n_months.reindex(pd.MultiIndex.from_frame(history[["user_id", "child_no", "stage"]])).to_numpy()
    probable = ~in_stage & (history["probability"] >= 0.5) & history["is_primary"]
    assert (lost | is_beside | (inferred & (of_stage >= lasts)))[probable].all() and probable.any()


def test_one_child_of_a_household_explains_most_of_the_behaviour(history):
    assert (history.groupby(["user_id", "month"])["is_primary"].sum() == 1).all()


def test_a_household_has_a_child_in_a_stage_at_least_as_probably_as_this_child_is_in_it(history):
    own = np.array([row[f"p_{row['stage']}"] for row in history.to_dict("records")])
    assert (history["probability"] >= own - 5e-6).all() and (history["probability"] > own + 0.01).any()


def test_the_distribution_of_a_child_sums_to_one_in_six_decimals(history, stages):
    p = history[[f"p_{state}" for state in ["no_child", "not_expecting", *stages, "aged_out"]]]
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(p.round(6), p)
    assert (history["p_no_child"] > 0.5).any() and (history["p_no_child"] == 0).any()


def test_children_and_sources_are_counted_per_user_and_month(evaluated, history, stages):
    in_stage = history[history["is_in_stage"]]
    n_children = in_stage.groupby(["user_id", "month"])["child_no"].nunique()
    found = in_stage.set_index(["user_id", "month"])["n_children"]
    assert (found == n_children.reindex(found.index)).all()
    numbers = {stage: number for number, stage in enumerate(stages, start=1)}
    assert (history["stage_no"] == history["stage"].map(numbers)).all()
    registered = [
        (user, child_no, pd.Timestamp(month))
        for user, child_no, month in evaluated.query("select user_id, child_no, month from registered_births")
    ]
    is_registered = pd.MultiIndex.from_frame(history[["user_id", "child_no", "month"]]).isin(registered)
    assert (history.loc[~is_registered, "source"] == "inferred").all()
    shares = history[is_registered].groupby("source").size() / is_registered.sum()
    assert shares["both"] > 0.5 and shares["registered"] > 0.05
    # A registration proves a child as far as it is credible.
    trust = evaluated.frame("registered_births").groupby(["user_id", "month"])["registration_probability"].max()
    alone = evaluated.frame("household_stages").set_index(["user_id", "month"])["no_child_probability"]
    users = pd.MultiIndex.from_frame(history[["user_id", "month"]])
    expected = (1 - trust.reindex(users).fillna(0).to_numpy()) * alone.reindex(users).to_numpy()
    np.testing.assert_allclose(history["no_child_probability"], expected, rtol=0, atol=1e-6)


def test_the_runner_up_is_the_second_most_probable_stage(history, stages):
    p = history[[f"p_{stage}" for stage in stages]].to_numpy()
    order = np.argsort(-p, axis=1, kind="stable")
    names = np.array(stages)[order]
    assert (names[:, 0] == history["stage"]).all()
    second = np.sort(p, axis=1)[:, -2]
    others = second > 0
    assert (names[others, 1] == history.loc[others, "runner_up_stage"]).all()
    np.testing.assert_array_equal(second[others], history.loc[others, "runner_up_probability"])
    assert history.loc[~others, ["runner_up_stage", "runner_up_probability"]].isna().all(axis=None)
    stale = history["is_stale"]
    high, medium = history["probability"] >= 0.9, history["probability"] >= 0.6
    bands = {"high": high & ~stale, "medium": (high & stale) | (medium & ~high & ~stale)}
    for name, rows in bands.items():
        assert ((history["confidence"] == name) == rows).all() and rows.any()


def test_a_stage_has_the_month_in_which_it_began_without_a_break(evaluated, history):
    """After a month in which the child was not published the stage starts again."""
    published = {key: rows.set_index("month")["published"] for key, rows in history.groupby(["user_id", "child_no"])}
    n_broken = 0
    for row in evaluated.frame("user_stages").itertuples():
        months, since = published[row.user_id, row.child_no], NEWEST
        while months.get(since - MONTH) == row.stage:
            since -= MONTH
        assert row.since_month == since
        n_broken += (months[months.index < since] == row.stage).any()
    assert n_broken > 0, "no stage ended and began again: the test proves too little"


def test_a_stage_is_stale_after_half_a_year_without_an_action(history):
    inactive = (history["month"].dt.year - history["last_active_month"].dt.year) * 12
    inactive += history["month"].dt.month - history["last_active_month"].dt.month
    assert (history["is_stale"] == (inactive >= 6)).all() and history["is_stale"].any()


def test_changes_are_the_differences_between_the_last_two_months(evaluated, history):
    published = history.dropna(subset="published").set_index(["user_id", "child_no"])
    now, before = (published.loc[published["month"] == month, "published"] for month in (NEWEST, NEWEST - MONTH))
    both = pd.concat([before.rename("previous_stage"), now.rename("stage")], axis=1).sort_index()
    expected = both[both["previous_stage"].fillna("") != both["stage"].fillna("")]
    found = evaluated.frame("stage_changes").set_index(["user_id", "child_no"]).sort_index()
    pd.testing.assert_frame_equal(found[["previous_stage", "stage"]], expected, check_dtype=False)
    kinds = np.where(expected["previous_stage"].isna(), "entered", np.where(expected["stage"].isna(), "left", "moved"))
    assert list(found["change"]) == list(kinds) and set(kinds) >= {"entered", "moved"}
    assert (found["probability"].isna() == found["stage"].isna()).all()


@pytest.fixture(scope="module")
def close_shop(evaluated, history, tmp_path_factory):
    """The shop with a limit at which one count of the newest month is suppressed with others; and the limit."""
    shop = copy_shop(evaluated, tmp_path_factory.mktemp("close") / "shop")
    newest = history[(history["month"] == NEWEST) & history["is_in_stage"]]
    few = 1 + int(newest.groupby("published")["user_id"].nunique().min())
    shop.build(only="stage_totals", marts_min_cell_users=few)
    return shop, few


def suppressed(counts: pd.Series, few: int) -> set:
    """The keys of suppressed counts: small ones, then the next until their sum reaches the limit."""
    found, total = set(), 0
    for key, n in sorted(counts.items(), key=lambda item: (item[1], counts.index.get_loc(item[0]))):
        if n < few or (found and total < few):
            found.add(key)
            total += n
    return found


def test_totals_count_users_and_suppress_small_counts(evaluated, open_shop, close_shop, history, stages):
    published = history.dropna(subset="published")
    users = {key: set(rows["user_id"]) for key, rows in published.groupby(["month", "published"])}
    months, n_flows = sorted(history["month"].unique()), 0
    for shop, few in ((evaluated, 20), (open_shop, FEW), close_shop):
        found = shop.frame("stage_totals").set_index(["month", "stage"])
        assert len(found) == len(months) * len(stages)
        small_before = set(stages)  # there are no flows into the first month
        for month in months:
            here = {stage: users.get((month, stage), set()) for stage in stages}
            small = suppressed(pd.Series({stage: len(here[stage]) for stage in stages}), few)
            for stage in stages:
                row = found.loc[(month, stage)]
                assert row["is_suppressed"] == (stage in small)
                before = users.get((month - MONTH, stage), set())
                flows = len(here[stage] - before), len(before - here[stage])
                if stage in small:
                    assert row[["n_users", "share", "n_moved_in", "n_moved_out"]].isna().all()
                    continue
                assert row["n_users"] == len(here[stage])
                assert row["share"] == pytest.approx(len(here[stage]) / sum(map(len, here.values())))
                if stage in small_before or min(flows) < few:
                    assert row[["n_moved_in", "n_moved_out"]].isna().all()
                else:
                    assert (row["n_moved_in"], row["n_moved_out"]) == flows
                    n_flows += 1
            small_before = small
    assert n_flows > 20
    newest = close_shop[0].frame("stage_totals", "month = '2017-02-01'")["is_suppressed"]
    assert newest.sum() >= 2 and not newest.all()


def test_flows_do_not_reveal_suppressed_counts_of_the_month_before(shop):
    """With arrivals and departures, 43 infants in February would reveal the 25 suppressed in January."""
    months = {
        "2017-01-01": {"newborn": range(5), "infant": range(5, 30), "toddler": range(30, 130)},
        "2017-02-01": {
            "newborn": [*range(5), *range(200, 230)],
            "infant": [*range(27, 30), *range(230, 270)],
            "toddler": [*range(5, 27), *range(30, 130)],
        },
    }
    rows = [f"('{u}', '{s}', date '{m}')" for m, of in months.items() for s, users in of.items() for u in users]
    shop.change(
        "drop table user_stage_months",
        f"""create table user_stage_months as
        select *, true as is_in_stage from (values {", ".join(rows)}) as v(user_id, stage, month)""",
    )
    shop.build(only="stage_totals", marts_min_cell_users=20)
    published = shop.frame("stage_totals", "stage = 'infant'").sort_values("month")
    assert list(published["is_suppressed"]) == [True, False] and published["n_users"].iloc[1] == 43
    assert published[["n_moved_in", "n_moved_out"]].isna().all(axis=None)


@pytest.mark.slow
def test_a_warehouse_with_the_history_as_a_view_is_upgraded(base, shop):
    """The history was a view in an older version; a run of the whole job makes it a table."""
    shop.change(
        "alter table user_stage_months rename to stored",
        "create view user_stage_months as from stored where month < date '2017-02-01'",
    )
    shop.build()
    shop.change("drop table stored")
    assert_same(base, shop, ["user_stage_months", "user_stages", "stage_changes"])


def test_rejected_registrations_of_enough_users_are_counted(shop):
    users, rows = shop.query("select count(distinct id), count(*) from stg_rejected_registrations")[0]
    for few, published in ((users, rows), (users + 1, None)):
        shop.build(only="model_runs", marts_min_cell_users=few)
        newest = "select n_rejected_registrations from model_runs order by started_at desc limit 1"
        assert shop.query(newest) == [(published,)]


def test_attributions_sum_to_the_log_odds_of_the_stage(evaluated):
    reasons = evaluated.frame("stage_reasons")
    children = evaluated.frame("user_stages").set_index(["user_id", "child_no"])
    sums = reasons.groupby(["user_id", "child_no"])["contribution"].sum()
    p = children["probability"]
    expected = np.log(p.clip(lower=1e-12) / (1 - p).clip(lower=1e-12))
    assert sums.index.equals(children.sort_index().index)
    np.testing.assert_allclose(sums, expected.sort_index(), rtol=0, atol=1e-9)
    assert set(reasons.loc[reasons["place"] == 7, "reason"]) == {"what was known before this month"}
    inactive = children.index[children["last_active_month"] < NEWEST]
    by_child = reasons.set_index(["user_id", "child_no"])
    assert (by_child.loc[inactive, "place"] == 7).all() and len(inactive) > 20


def test_attributions_of_a_month_sum_to_its_change(evaluated, stages):
    """Against the posteriors with and without the month's log-likelihoods, of primary children without registration."""
    bins = evaluated.frame("age_bins").sort_values("bin_no")
    edges = evaluated.frame("stages").set_index("stage")
    ages = np.arange(edges["from_month"].min(), edges["to_month"].max())
    names = [f"m{-age}" if age < 0 else str(age) for age in ages]
    rows = evaluated.frame("user_stages", "is_primary and last_active_month = month").set_index("user_id")
    rows = rows[~rows.index.isin(evaluated.frame("stg_children")["user_id"])]
    cells = evaluated.frame("birth_month_filter_cells", "month = '2017-02-01'").set_index("user_id").loc[rows.index]
    log_likelihood = (
        evaluated.frame("stage_log_likelihoods", "month = '2017-02-01'").set_index("user_id").loc[rows.index]
    )
    priors = evaluated.frame("prior_by_tenure").set_index(["model_version", "tenure_months"])
    tenure = (NEWEST.year - cells["first_month"].dt.year) * 12 + NEWEST.month - cells["first_month"].dt.month
    prior = priors.loc[
        list(zip(rows["model_version"], tenure, strict=True)), [f"l_{name}" for name in names]
    ].to_numpy()
    of_bins = evaluated.query("select age_bin, from_month, to_month from age_bins order by bin_no")
    division = [evaluated.query("select stage, from_month, to_month from stages order by stage_no"), of_bins]
    (names_of_stages, of_stages), (names_of_bins, of_bins) = (
        (tuple(name for name, _, _ in of), (of[0][1], *(high for _, _, high in of))) for of in division
    )
    (version,) = rows["model_version"].unique()
    model = evaluated.frame("stage_coefficients", f"model_version = '{version}'")
    weights, _ = read_readout(model, Ages(names_of_bins, of_bins, names_of_stages, of_stages))
    behaviour = evaluated.frame("birth_month_filter", "month = '2017-02-01'").set_index("user_id").loc[rows.index]
    behaviour = behaviour.assign(
        constant=1.0, log_active_months=np.log(behaviour["months_of_evidence"]), log_inactive_months=0.0
    )
    terms = behaviour[list(TERMS)].to_numpy(float)
    strength = np.exp(terms @ weights.log_tau)
    bin_of_age = np.searchsorted(of_bins, ages, side="right") - 1
    given = (terms @ weights.bias)[:, bin_of_age]
    given += weights.kappa * cells[[f"a_{name}" for name in names]].to_numpy() / 1000
    centres = (bins["from_month"] + bins["to_month"] - 1) / 2
    of_month = np.array(
        [np.interp(ages, centres, row) for row in log_likelihood[[f"ll_{b}" for b in bins["age_bin"]]].to_numpy()]
    )
    summed = cells[[f"c_{name}" for name in names]].to_numpy()
    first, end = (edges.loc[rows["stage"], column].to_numpy()[:, None] for column in ("from_month", "to_month"))
    inside = (ages >= first) & (ages < end)

    def log_odds(total):
        predicted = strength[:, None] * total + given + prior
        weights = np.exp(predicted - predicted.max(axis=1, keepdims=True))
        return np.log((weights * inside).sum(axis=1) / (weights * ~inside).sum(axis=1))

    moved = log_odds(summed) - log_odds(summed - of_month)
    reasons = evaluated.frame("stage_reasons", "place < 7").groupby(["user_id", "child_no"])["contribution"].sum()
    predicted = reasons.loc[list(zip(rows.index, rows["child_no"], strict=True))].to_numpy()
    is_open = rows["probability"].to_numpy() < 0.99  # beyond, delta dominates
    assert is_open.sum() > 30
    assert np.corrcoef(predicted[is_open], moved[is_open])[0, 1] > 0.95
    assert np.abs(predicted - moved)[is_open].mean() < 0.3 * np.abs(moved[is_open]).mean()


def test_attributions_are_small_where_a_registration_dominates(evaluated):
    published = evaluated.frame("user_stages", "is_primary").merge(
        evaluated.frame("birth_month_filter"), on=["user_id", "month"], suffixes=("", "_behaviour")
    )
    p = np.array([row[f"p_{row['stage']}_behaviour"] for _, row in published.iterrows()])
    published["is_outvoted"] = (p < 0.2) & (published["probability"] > 0.8)
    moved = evaluated.frame("stage_reasons", "place < 7").groupby(["user_id", "child_no"])["contribution"].sum().abs()
    both = published.merge(moved.rename("moved").reset_index(), on=["user_id", "child_no"])
    of_kinds = both.groupby("is_outvoted")["moved"].mean()
    assert both["is_outvoted"].sum() > 3 and of_kinds[True] < 0.3 * of_kinds[False]


def test_attributions_exist_for_primary_children_only(evaluated, tmp_path):
    shop = copy_shop(evaluated, tmp_path / "shop")
    only = "household_children user_stage_months user_stages stage_reasons"
    shop.build(only=only, marts_min_further_probability=0.2, marts_min_probability=0.2)
    others = shop.frame("user_stages", "not is_primary")[["user_id", "child_no"]]
    ranks = shop.frame("stage_reasons").merge(others, on=["user_id", "child_no"])["place"]
    assert len(others) > 5 and set(ranks) == {7}


def test_attributions_have_a_wording(evaluated):
    predicted = dict(evaluated.query("select feature, reason from reason_texts"))
    assert predicted["leaf=wipes:purchase"] == "things of the kind wipes, bought"
    assert predicted["size=clothing|100cm"] == "things of the size clothing 100cm"
    assert any(reason.startswith("searched for ") for reason in predicted.values())
    endings = {"purchase": ", bought", "cart": ", put into the cart", "collect": ", collected"}
    for feature, reason in predicted.items():
        detail = feature.split("=", 1)[1]
        action = detail.rpartition(":")[2]
        plain = detail.removesuffix(f":{action}") if action in endings and ":" in detail else detail
        assert plain.replace("|", " ") in reason and "..." not in reason
        assert plain == detail or reason.endswith(endings[action])


def test_a_feature_group_without_a_wording_shows_the_feature_name(evaluated, tmp_path):
    shop = copy_shop(evaluated, tmp_path / "shop")
    seed = shop.folder / "seeds" / "reason_words.csv"
    seed.write_text("".join(line for line in seed.read_text().splitlines(True) if not line.startswith("leaf,")))
    shop.build(only="reason_words reason_texts")
    predicted = dict(shop.query("select feature, reason from reason_texts where feature like 'leaf=%'"))
    assert predicted and all(feature == reason for feature, reason in predicted.items())


def test_interests_are_shares_of_a_stage_s_active_users(evaluated, open_shop):
    for shop, few in ((evaluated, 20), (open_shop, FEW)):
        found = shop.frame("stage_interests").set_index(["stage", "leaf_category"])
        met = pd.DataFrame(
            shop.query(
                """select distinct actions.user_id, items.leaf_category
                from stg_actions as actions join stg_items as items using (item_id)
                where actions.month = '2017-02-01' and items.leaf_category is not null"""
            ),
            columns=["user_id", "leaf_category"],
        )
        members = shop.frame("user_stages")[["user_id", "stage"]].drop_duplicates()
        active = members[members["user_id"].isin(met["user_id"])]
        table = active.merge(met, on="user_id")
        of_stages = active.groupby("stage").size()
        counts = table.groupby(["leaf_category", "stage"]).size().unstack(fill_value=0).reindex(columns=of_stages.index)
        published = set(shop.frame("stage_totals", "month = '2017-02-01' and not is_suppressed")["stage"])
        expected = {
            (stage, leaf)
            for leaf, row in counts.fillna(0).iterrows()
            for stage in published & set(row.index) - suppressed(row, few)
        }
        assert expected == set(found.index) and len(expected) > 2
        for (stage, leaf), row in found.iterrows():
            share = counts.loc[leaf, stage] / of_stages[stage]
            n_met = table.loc[table["leaf_category"] == leaf, "user_id"].nunique()
            assert row["n_users"] == counts.loc[leaf, stage] and row["share"] == pytest.approx(share)
            assert row["lift"] == pytest.approx(share / (n_met / active["user_id"].nunique()))
