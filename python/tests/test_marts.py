"""Marts against the history: stages with their start, transitions, counts, attributions and interests."""

import duckdb
import numpy as np
import pandas as pd
import pytest
from project import assert_same, copy_shop

from life_stage.filtering.attribution import Attributor
from life_stage.filtering.pass_grid import numbers_of
from life_stage.training.retraining import read_age_divisions

FEW = 3
NEWEST = pd.Timestamp("2017-02-01")
MONTH = pd.DateOffset(months=1)


def test_every_published_column_has_a_description(base):
    dictionary = pd.read_csv(base.published / "dictionary.csv", encoding="utf-8-sig")
    assert {"user_stages", "user_stage_months"} <= set(dictionary["mart"])
    assert list(dictionary.loc[dictionary["description"].isna(), "mart"].unique()) == []


def test_what_points_at_few_users_is_not_published(evaluated):
    with duckdb.connect(evaluated.published / "life_stage.duckdb", read_only=True) as marts:
        for table in ("household_accuracy", "stage_accuracy", "stage_confusion", "stage_calibration"):
            shown = marts.sql(f"from {table}").df()
            known = evaluated.frame(table, "not is_suppressed")
            assert len(shown) == len(known) > 0 and not shown["is_suppressed"].any() and (shown["n_users"] >= 20).all()
        assert marts.sql("from monitor_quality where n_cases < 20").fetchall() == []


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
    shop.build(only="stage_totals stage_transitions stage_interests", marts_min_cell_users=FEW)
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


def test_transitions_count_children_and_no_suppressed_count_follows_from_sums(evaluated, open_shop, history):
    stages = history.pivot(index=["user_id", "child_no"], columns="month", values="published").fillna("none")
    users, pairs = stages.index.get_level_values("user_id"), list(zip(stages.columns, stages.columns[1:], strict=False))
    children, people = {}, {}
    for before, month in pairs:
        for key, ids in users.groupby(list(zip(stages[before], stages[month], strict=True))).items():
            if key != ("none", "none"):
                children[(month, *key)], people[(month, *key)] = len(ids), len(set(ids))
    for shop, few in ((evaluated, 20), (open_shop, FEW)):
        found = shop.frame("stage_transitions").set_index(["month", "previous_stage", "stage"])
        assert {*found.index} == {*children}
        shown = found[~found["is_suppressed"]]
        assert (shown["n_children"] == pd.Series(children)[shown.index]).all() and len(shown) > len(pairs)
        n_users = pd.Series(people)[found.index]
        assert found.loc[n_users < few, "is_suppressed"].all()
        assert found.loc[found["is_suppressed"], "n_children"].isna().all()
        for line in ("previous_stage", "stage"):
            for _, rows in found.assign(n_users=n_users).groupby(["month", line]):
                hidden = rows[rows["is_suppressed"]]
                assert len(hidden) in (0, len(rows)) or (len(hidden) > 1 and hidden["n_users"].sum() >= few)


def test_a_crm_has_one_row_a_child_with_the_first_probable_next_stage(evaluated):
    children = evaluated.frame("crm_children").set_index(["user_id", "child_no"])
    stages = evaluated.frame("user_stages").set_index(["user_id", "child_no"])
    assert children["child_key"].is_unique and {*children.index} == {*stages.index}
    outlook = evaluated.frame("stage_outlook")
    for key, rows in outlook[outlook["p_entering"] >= 0.5].groupby(["user_id", "child_no"]):
        later = rows[rows["stage_no"] > stages.loc[key, "stage_no"]].sort_values("horizon").head(1)
        assert children.loc[key, "next_stage"] == later["stage"].item()
        assert children.loc[key, "next_stage_month"] == later["stage_month"].item()
        stages = stages.drop(key)
    assert len(stages) and children.loc[stages.index, ["next_stage", "next_stage_month"]].isna().all(axis=None)
    first = evaluated.frame("stage_reasons", "rank = 1").set_index(["user_id", "child_no"])["reason"]
    assert (children["reason"] == first[children.index]).all()


def test_the_hash_of_a_child_changes_with_what_a_campaign_sees_alone(evaluated):
    children = evaluated.frame("crm_children")
    seen = ["stage", "since_month", "confidence", "source", "is_stale", "next_stage", "next_stage_month"]
    groups = children.groupby(seen, dropna=False)["row_hash"]
    assert (groups.nunique() == 1).all() and groups.ngroups == children["row_hash"].nunique() > 20


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


@pytest.mark.slow
def test_rejected_registrations_of_enough_users_are_counted(shop):
    users, rows = shop.query("select count(distinct id), count(*) from stg_rejected_registrations")[0]
    for few, published in ((users, rows), (users + 1, None)):
        shop.build(only="model_runs", marts_min_cell_users=few)
        newest = "select n_rejected_registrations from model_runs order by started_at desc limit 1"
        assert shop.query(newest) == [(published,)]


def test_reasons_sum_to_the_log_odds_of_the_stage_and_the_first_speaks_for_it(evaluated):
    reasons = evaluated.frame("stage_reasons")
    children = evaluated.frame("user_stages").set_index(["user_id", "child_no"])
    sums = reasons.groupby(["user_id", "child_no"])["contribution"].sum()
    p = children["probability"]
    expected = np.log(p.clip(lower=1e-12) / (1 - p).clip(lower=1e-12))
    assert sums.index.equals(children.sort_index().index)
    np.testing.assert_allclose(sums, expected.sort_index(), rtol=0, atol=1e-9)
    shares = reasons["share"].abs().groupby([reasons["user_id"], reasons["child_no"]]).sum()
    np.testing.assert_allclose(shares, 1, rtol=0, atol=1e-9)
    assert (np.sign(reasons["share"]) == np.sign(reasons["contribution"])).all()
    first = reasons[reasons["rank"] == 1]
    assert (first.loc[first["log_odds"] > 0, "contribution"] > 0).all() and len(first) == len(children)
    n_features = reasons[reasons["kind"] == "feature"].groupby(["user_id", "child_no"]).size()
    assert n_features.max() == 5 and (reasons.loc[reasons["kind"] == "feature", "contribution"] > 0).all()
    registered = children.index[children["source"] != "inferred"]
    assert set(registered) == set(reasons[reasons["kind"] == "registration"].set_index(["user_id", "child_no"]).index)


@pytest.fixture(scope="module")
def attributor(evaluated):
    """The attribution with the weights of the newest model, and with its intercept as one more feature."""
    with duckdb.connect(evaluated.warehouse, read_only=True) as connection:
        ages = read_age_divisions(connection.table("age_bins"), connection.table("stages"))
        return Attributor.of(ages, connection.table("model_weights"))


def test_attributions_of_all_features_sum_to_the_sums_of_the_filter(evaluated, attributor):
    """Weights at the ages of each month, added up by feature, are the filter's sums at the grid points."""
    with duckdb.connect(evaluated.warehouse, read_only=True) as connection:
        children = (
            connection.sql(
                """
            with
                features as (
                    select features.user_id, features.month, models.model_version, feature, n_days, value
                    from user_month_features as features
                    inner join stage_log_likelihoods as models using (user_id, month)
                    inner join model_weights as known using (model_version, feature)
                    union all
                    select user_id, month, model_version, '', null, 1.0 from stage_log_likelihoods
                ),
                observed as (
                    select user_id, list({month: month, model_version: model_version, feature: feature, value: value})
                        as features
                    from features group by user_id
                )
            select children.* replace (observed.features as features)
            from explained_children as children inner join observed using (user_id)
            where is_primary order by user_id, child_no limit 200
            """
            )
            .to_arrow_table()
            .combine_chunks()
            .to_batches()[0]
        )
        cells = connection.sql("from birth_month_filter_cells where month = '2017-02-01'").df().set_index("user_id")
    names = [f"m{-age}" if age < 0 else str(age) for age in attributor.stage_ages]
    posterior = attributor.at_ages(children, "w")
    np.testing.assert_allclose(posterior.sum(axis=1), 1, rtol=0, atol=1e-9)
    stage = children["stage_no"].to_numpy() - 1
    directions = attributor.directions(posterior, stage, np.full(len(children), True))
    inside = attributor.ages.stage_of(attributor.stage_ages) == stage[:, None]
    np.testing.assert_allclose(np.where(inside, directions, 0).sum(axis=1), 1, rtol=0, atol=1e-9)
    child, features = attributor.observed(children)
    lag = numbers_of(children["month"])[child] - numbers_of(features.field("month"))
    weighted = attributor.weighted(directions, child, features, lag)
    summed = np.bincount(child, weighted * features.field("value").to_numpy(), len(children))
    sums = cells.loc[children["user_id"].to_pylist(), [f"c_{name}" for name in names]].to_numpy()
    assert (lag > 5).any() and len(children) == 200
    np.testing.assert_allclose(summed, np.einsum("ca,ca->c", directions, sums), rtol=0, atol=1e-4)


def test_the_weights_of_the_birth_months_are_the_published_shares(evaluated):
    """Of children whose label noise is small; the shares are given that the child is in a stage."""
    stages = evaluated.query("select stage, from_month, to_month from stages order by stage_no")
    found = evaluated.frame("birth_month_weights").set_index("user_id")
    published = evaluated.frame("birth_month_filter", "month = '2017-02-01'").set_index("user_id").loc[found.index]
    for stage, first, last in stages:
        names = [f"w_m{-age}" if age < 0 else f"w_{age}" for age in range(first, last)]
        noise = np.abs(found[names].sum(axis=1) - published[f"p_{stage}"])
        assert noise.median() < 0.01, stage


def test_the_outlook_is_a_sum_over_birth_months(evaluated):
    stages = evaluated.query("select stage, from_month, to_month from stages order by stage_no")
    outlook = evaluated.frame("stage_outlook").set_index(["user_id", "child_no", "horizon", "stage"])
    children = evaluated.frame("user_stages").set_index(["user_id", "child_no"])
    births = evaluated.frame("registered_births", "month = '2017-02-01'").set_index(["user_id", "child_no"])
    weights = evaluated.frame("birth_month_weights").set_index("user_id")
    ages = np.arange(stages[0][1], stages[-1][2])
    names = [f"w_m{-age}" if age < 0 else f"w_{age}" for age in ages]
    n_checked = 0
    for (user, child_no), row in children.iterrows():
        w = weights.loc[user, names].to_numpy(float) if row["is_primary"] else np.ones(len(ages))
        known = births.loc[(user, child_no)] if (user, child_no) in births.index else None
        share = 0 if known is None else known["registration_probability"]
        age = None if known is None else known["age_months"]
        for horizon in (0, 1, 6):
            for stage, first, last in stages:
                is_listed = age is not None and first <= age + horizon < last and (age >= 0 or first < 0)
                expected = entering = share * is_listed
                entering *= age is not None and not first <= age < last
                for before, begin, end in stages:
                    if begin < 0 <= first:
                        continue  # a birth
                    now = (ages >= begin) & (ages < end)
                    then = now & (ages + horizon >= first) & (ages + horizon < last)
                    own = row[f"p_{before}"] - share * (age is not None and begin <= age < end)
                    part = max(own, 0) * w[then].sum() / w[now].sum()
                    expected += part
                    entering += part * (before != stage)
                if expected < 0.0101:
                    continue
                found = outlook.loc[(user, child_no, horizon, stage)]
                assert found["probability"] == pytest.approx(expected, abs=2e-6)
                assert found["p_entering"] == pytest.approx(entering, abs=2e-6)
                n_checked += horizon > 0 and entering > 0.5
    assert n_checked > 10


def test_replaying_the_log_gives_the_published_stages(evaluated):
    with duckdb.connect(evaluated.warehouse, read_only=True) as connection:
        log = connection.sql("from stage_events order by event_no").df()
        assert log["event_no"].is_unique and log["month"].is_monotonic_increasing
        for month in log["month"].unique():
            until = log[log["month"] <= month].groupby(["user_id", "child_no"]).tail(1).dropna(subset=["stage"])
            sql = "select user_id, child_no, stage from user_stage_months where is_in_stage and month = ?"
            rows = connection.execute(sql, [month.to_pydatetime()]).fetchall()
            assert {*until[["user_id", "child_no", "stage"]].itertuples(index=False, name=None)} == {*rows}, month
    assert log["month"].nunique() > 6 and {"entered", "moved", "left"} == {*log["change"]}


def test_attributions_have_a_wording(evaluated):
    predicted = dict(evaluated.query("select feature, reason from reason_texts"))
    assert predicted["leaf=wipes:purchase"] == "wipes, bought"
    assert predicted["size=clothing|100cm"] == "size clothing 100cm"
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
