"""Registered birthdays in the marts: mixed with the posterior from the month of registration on, and only there."""

import numpy as np
import pandas as pd
import pytest
from filter_oracle import Divisions, Readout, posterior
from project import assert_same, copy_shop

KEYS = ["user_id", "month"]


def shift_birthdays(shop, months: int) -> None:
    """Move all registered birthdays so many months earlier."""
    file = shop.source / "children.parquet"
    children = pd.read_parquet(file)
    children["birth_date"] = pd.to_datetime(children["birth_date"]) - pd.DateOffset(months=months)
    children.to_parquet(file)


@pytest.fixture(scope="module")
def published(base):
    """The history mart of users with one registered child, beside behaviour alone and the registration."""
    frames = [
        base.frame(table).drop(columns="run_id", errors="ignore") for table in ("user_stage_months", "stage_posteriors")
    ]
    history, posteriors = frames[0], frames[1][frames[1]["method"] == "birth_month_filter"]
    posteriors = posteriors[posteriors["is_primary"]].drop(columns=["is_published", "is_primary"])
    history, births = history[history["is_primary"]], base.frame("registered_births")
    alone = base.query("select user_id from stg_children group by user_id having count(*) = 1")
    together = history.merge(posteriors, on=KEYS, suffixes=("", "_behaviour"))
    together = together.merge(births, on=KEYS, how="left", suffixes=("", "_registered"))
    return together[together["user_id"].isin([user for (user,) in alone])]


def test_a_birthday_has_its_bayesian_weight(base):
    """Weight 0.95 on the birthday and 0.05 on the posterior, both times the likelihood up to the month."""
    d, log_likelihood = Divisions.of(base), base.frame("stage_log_likelihoods")
    calendar = {month: n for n, (month,) in enumerate(base.query("select month from month_calendar order by month"))}
    rows = base.frame("stage_coefficients")
    shares = rows[rows["parameter_type"] == "initial_prior"].set_index("age_bin")["value"][d.bins].to_numpy()
    readout, days = Readout(rows, d), ["days", "unspecific_days", "purchase_days"]
    months = log_likelihood["month"].map(lambda month: calendar[month.date()])
    of_users = {
        user: [
            dict(zip(months[of_user.index], of_user[columns].to_numpy(), strict=True))
            for columns in ([f"ll_{name}" for name in d.bins], days)
        ]
        for user, of_user in log_likelihood.groupby("user_id")
    }
    compared = 0
    for row in base.frame("registered_births").to_dict("records"):
        if row["n_known_children"] > 1:
            assert row["registration_probability"] == pytest.approx(0.95)
        elif d.first <= row["age_months"] <= d.last:
            of_user, its_days = of_users[row["user_id"]]
            month = calendar[row["month"].date()]
            prior, _, P, delta = posterior(of_user, month, readout, shares, d, its_days)
            cell = row["age_months"] - d.first + 1
            right = 0.95 * (P[cell] / prior[cell] - delta) / (1 - delta)
            assert row["registration_probability"] == pytest.approx(right / (right + 0.05), abs=1e-6)
            compared += 1
    assert compared > 500


def test_a_trusted_birthday_gives_the_stage(published, base):
    stages = base.query("select stage, from_month, to_month from stages")
    trusted = published[published["registration_probability"] > 0.8]
    registered = [next((s for s, low, high in stages if low <= age < high), None) for age in trusted["age_months"]]
    inside = [stage is not None for stage in registered]
    assert sum(inside) > 300
    assert list(trusted["stage"][inside]) == [stage for stage in registered if stage is not None]
    month = trusted["birth_date"].dt.to_period("M").dt.to_timestamp()
    for column in ("expected_birth_month", "earliest_birth_month", "latest_birth_month"):
        assert (trusted[column] == month).all()


def test_before_the_registration_behaviour_alone_is_published(published):
    before = published[published["registration_probability"].isna()]
    columns = [name for name in published.columns if f"{name}_behaviour" in published.columns]
    assert len(before) > 40 and len(columns) > 12
    of_child = (1 - before["no_child_probability"]) * (
        1 - before["not_yet_expecting_probability"] - before["graduated_probability"]
    )
    for column in columns:
        mine, theirs = before[column], before[f"{column}_behaviour"]
        if column.startswith("p_"):
            np.testing.assert_allclose(mine, of_child * theirs, rtol=0, atol=5e-6)
        elif column == "no_child_probability":
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6)
        else:
            assert mine.equals(theirs.rename(column)), column


def test_a_doubtful_birthday_is_mixed_with_behaviour(published):
    """The probability of the registered stage is weight x 1 + (1 - weight) x its posterior, over all grid points."""
    rows = published[published["registration_probability"].between(0.01, 0.9) & published["age_months"].between(0, 83)]
    assert len(rows) > 5
    edges, names = [0, 6, 12, 24, 36], ["newborn", "infant", "toddler", "nursery", "kindergarten"]
    stage = [names[n - 1] for n in np.searchsorted(edges, rows["age_months"], side="right")]
    found, behaviour = (
        np.array([row[f"p_{name}{of}"] for name, (_, row) in zip(stage, rows.iterrows(), strict=True)])
        for of in ("", "_behaviour")
    )
    inside = 1 - rows["not_yet_expecting_probability"] - rows["graduated_probability"]
    trust = rows["registration_probability"]
    np.testing.assert_allclose(found, trust + (1 - trust) * behaviour * inside, rtol=0, atol=5e-6)


@pytest.mark.slow
def test_wrong_registrations_change_published_stages_and_no_posterior(base, tmp_path):
    shop = copy_shop(base, tmp_path / "wrong")
    shift_birthdays(shop, 20)
    shop.build()
    unmoved = ["stage_log_likelihoods", "stage_scores", "birth_month_filter", "dynamic_fusion", "stage_coefficients"]
    assert_same(shop, base, unmoved, ignore=())
    trust = "select avg(registration_probability) from registered_births"
    assert shop.query(trust)[0][0] < base.query(trust)[0][0] - 0.05, "behaviour speaks against wrong birthdays"
    stages = "select user_id, child_no, stage from user_stages order by all"
    assert shop.query(stages) != base.query(stages)


def test_registered_children_keep_their_numbers(base):
    registered = base.query("select user_id, child_no from registered_births group by all")
    published = base.query("select user_id, child_no from user_stage_months group by all")
    assert set(registered) <= set(published) and len(registered) > 100


@pytest.mark.slow
def test_a_sibling_registered_later_changes_nothing_of_the_past(base, tmp_path):
    shop = copy_shop(base, tmp_path / "sibling")
    file = shop.source / "children.parquet"
    children = pd.read_parquet(file)
    one = base.query("select user_id from stg_children group by user_id having count(*) = 1 and max(child_no) = 1")
    alone = children[children["user_id"].astype(str).isin([user for (user,) in one]) & children["child_no"].notna()]
    alone = alone[~alone["user_id"].duplicated(keep=False)]
    siblings = alone.assign(child_no=99, registered_at=pd.Timestamp("2017-02-15"))
    siblings["birth_date"] = pd.to_datetime(siblings["birth_date"]) - pd.DateOffset(months=30)
    children["birth_date"] = pd.to_datetime(children["birth_date"])
    pd.concat([children, siblings]).to_parquet(file)
    shop.build()
    assert_same(shop, base, ["user_stage_months"], where="month < date '2017-02-01'", ignore=())
    late = "select count(*) from user_stage_months where child_no = 99"
    assert shop.query(f"{late} and month = date '2017-02-01'")[0][0] > 50


@pytest.mark.slow
def test_a_registration_without_a_time_counts_now(base, tmp_path):
    shop = copy_shop(base, tmp_path / "undated")
    file = shop.source / "children.parquet"
    pd.read_parquet(file).assign(registered_at=pd.NaT).to_parquet(file)
    shop.build()
    months = shop.query("select distinct strftime(month, '%Y-%m') from registered_births")
    assert months == [("2017-02",)]
    ahead = "select count(*), count(case when birth_confirmed then 1 end) from registered_births where age_months < 0"
    n_rows, n_confirmed = shop.query(ahead)[0]
    assert n_rows > 5 and n_confirmed == 0, "known today, but born after the month"


# Users with a registration before birth, with their posteriors since.
EXPECTED = """
    from user_stage_months as published
    join registered_births as registered using (user_id, child_no, month)
    join stg_children as children using (user_id, child_no)
    join birth_month_filter as posteriors using (user_id, month)
    where registered_at < children.birth_date and registration_probability >= 0.5
"""


def test_no_birth_is_confirmed_before_its_day_nor_by_time_alone(base):
    ahead = f"select count(*), count(case when published.birth_confirmed then 1 end) {EXPECTED} and age_months < 0"
    inactive = f"""select count(*), count(case when published.birth_confirmed then 1 end) {EXPECTED}
        and age_months >= 0 and children.birth_date >= posteriors.first_month
        and published.last_active_month < date_trunc('month', children.birth_date)"""
    for claim in (ahead, inactive):
        n_rows, n_confirmed = base.query(claim)[0]
        assert n_rows > 5 and n_confirmed == 0, claim


def test_a_birth_is_confirmed_by_a_registration_after_it(base):
    after = """select count(*), count(case when birth_confirmed then 1 end) from registered_births
        join stg_children using (user_id, child_no, birth_date) where registered_at >= birth_date"""
    n_rows, n_confirmed = base.query(after)[0]
    assert n_rows == n_confirmed > 150


def test_children_with_unconfirmed_births_are_excluded_from_current_stages(base):
    newest = """select user_id, child_no from user_stage_months
        where month = date '2017-02-01' and probability >= 0.5 and source <> 'inferred'"""
    announced = base.query(f"{newest} and (birth_confirmed or stage = 'pregnancy') order by all")
    assert base.query("select user_id, child_no from user_stages where source <> 'inferred' order by all") == announced
    assert len(base.query(newest)) > len(announced) > 100


@pytest.mark.slow
def test_the_marts_publish_the_method_of_the_var(base, tmp_path):
    shop = copy_shop(base, tmp_path / "method")
    shop.build(checked=True, fusion_method="dynamic_fusion")
    unregistered = "user_id not in (select user_id from stg_children) group by all order by all"
    published = f"select user_id, month, count(*) from user_stage_months where {unregistered}"
    tracks = f"""select user_id, month, count(*) from dynamic_fusion
        where (rank = 1 or n_fusions >= 2) and {unregistered}"""
    assert shop.query(published) == shop.query(tracks) != base.query(published)
    assert shop.published_set() != base.published_set()
    shop.build()
    assert_same(shop, base, ["user_stages", "user_stage_months", "birth_month_filter", "dynamic_fusion"], ignore=())


STAGES = {"pregnancy": (-9, 0), "newborn": (0, 6), "infant": (6, 12), "toddler": (12, 24), "nursery": (24, 36)}
STAGES |= {"kindergarten": (36, 84)}


def stage_of(age):
    return next((name for name, (low, high) in STAGES.items() if low <= age < high), None)


def birth_age(month, birth) -> int:
    """Age in completed months."""
    return (month.year - birth.year) * 12 + month.month - birth.month


def half_stage(age: int) -> float:
    return next(((high - low) / 2 for low, high in STAGES.values() if age < high), 24)


def is_near(one: dict, other: dict) -> bool:
    """True if the birth months of a registered and an inferred child can be those of one child."""
    births, month = (one["birth_date"], other["expected_birth_month"]), one["month"]
    if pd.isna(births[1]):
        return False
    ages = [birth_age(month, birth) for birth in births]
    return abs(ages[0] - ages[1]) < max(9, min(half_stage(age) for age in ages))


def distance_of(one: dict, other: dict) -> int:
    birth = other["expected_birth_month"]
    return 1000 if pd.isna(birth) else abs(birth_age(one["birth_date"], birth))


def matches_of(registered: list[dict], inferred: list[dict]) -> dict[int, int]:
    """{number of the registered child: number of the inferred one}."""
    pairs = [(distance_of(one, other), one, other) for one in registered for other in inferred if is_near(one, other)]
    found = {}
    for distance, one, other in pairs:
        of_one = min((d, b["child_no"]) for d, a, b in pairs if a is one)
        of_other = min((d, a["child_no"]) for d, a, b in pairs if b is other)
        if of_one == (distance, other["child_no"]) and of_other == (distance, one["child_no"]):
            found[one["child_no"]] = other["child_no"]
    first = next(child for child in inferred if child["is_primary"])
    left = [(distance_of(one, first), one["child_no"]) for one in registered if one["child_no"] not in found]
    if left and first["child_no"] not in found.values():
        found[min(left)[1]] = first["child_no"]
    return found


def household_probability(stage: str, one: dict | None, child: dict, registered: list[dict], late: dict) -> float:
    """Probability of a child in the stage, for the row of registered child `one` or of an inferred child."""
    h = (1 - child["no_child_probability"]) * child[f"h_{stage}"]
    if one is not None:
        trust = one["registration_probability"]
        return trust * (stage_of(one["age_months"]) == stage) + (1 - trust) * h
    trust = max(other["registration_probability"] for other in registered)
    is_known = any(is_near(other, child) or stage_of(other["age_months"]) == stage for other in registered)
    share = 0.0 if is_known else late[child["model_version"], stage]
    return h * (1 - trust + trust * share / max(h * share + 1 - h, 1e-12))


@pytest.mark.slow
def test_registered_and_inferred_children_are_matched_by_birth_month(evaluated, tmp_path):
    """Every user with a registration in four months: the numbers, and the probability of every child's stage.

    With low thresholds, so that there are many further children.
    """
    shop = copy_shop(evaluated, tmp_path / "shop")
    low = dict.fromkeys(("marts_min_probability", "marts_min_first_probability", "marts_min_further_probability"), 0.1)
    shop.build(only="household_children user_stage_months", **low)
    weights = shop.frame("household_weights").to_dict("records")
    late = {(row["model_version"], stage): row[f"registered_late_{stage}"] for row in weights for stage in STAGES}
    inferred = shop.frame("stage_posteriors", "method = 'birth_month_filter'").groupby(KEYS)
    inferred = {key: rows.to_dict("records") for key, rows in inferred}
    published = {key: rows.set_index("child_no") for key, rows in shop.frame("user_stage_months").groupby(KEYS)}
    counts = dict.fromkeys(("beside", "renumbered", "unmatched"), 0)
    for key, registered in shop.frame("registered_births", "month >= '2016-11-01'").groupby(KEYS):
        registered, children = registered.to_dict("records"), inferred[key]
        matched, numbers = matches_of(registered, children), {one["child_no"] for one in registered}
        by_number = {child["child_no"]: child for child in children}
        expected = {one["child_no"]: (one, by_number.get(matched.get(one["child_no"]))) for one in registered}
        counts["unmatched"] += len(registered) - len(matched)
        for number, child in by_number.items():
            if number not in matched.values():
                expected[number + 100 if number in numbers else number] = None, child
                counts["renumbered"] += number in numbers
                counts["beside"] += 1
        rows = published[key]
        assert set(rows.index) <= set(expected) and numbers <= set(rows.index)
        for number, (one, child) in expected.items():
            if number not in rows.index:
                assert not child["has_posterior"], "only a further child may have no row"
                continue
            row, household = rows.loc[number], child or children[0]
            probability = household_probability(row["stage"], one, household, registered, late)
            assert row["probability"] == pytest.approx(probability, abs=2e-6), (key, number)
            assert row["is_primary"] == bool(child and child["is_primary"])
    assert counts["unmatched"] > 20 and counts["beside"] > 5 and counts["renumbered"] > 5, counts
