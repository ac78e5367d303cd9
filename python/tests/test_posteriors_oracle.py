"""birth_month_filter against its formula in NumPy over fixed birth months."""

from collections.abc import Callable

import duckdb
import numpy as np
import pandas as pd
import pytest
from filter_oracle import Divisions, Readout, published_row
from project import Shop, copy_shop

MONTHS = pd.date_range("2015-01-01", "2017-03-01", freq="MS").date  # two kept Decembers, and a change of model
READOUTS = {"v1": (1.3, 0.2, 0.02, 0.008), "v2": (0.9, 0.0, 0.06, 0.05)}  # tau, gamma, delta, birth_hazard
CHANGE_OF_MODEL = 18
KEYS = ["user_id", "month"]
DAYS = ["days", "unspecific_days", "purchase_days"]


def oracle(shop: Shop) -> pd.DataFrame:
    """birth_month_filter from stage_log_likelihoods, month_model_assignments and the models' priors and settings."""
    d, frame = Divisions.of(shop), shop.frame("stage_log_likelihoods")
    months = shop.query("select month from month_calendar where is_closed order by month")
    calendar = {month: n for n, (month,) in enumerate(months)}
    rows = shop.frame("stage_coefficients")
    priors = rows[rows["parameter_type"] == "initial_prior"].pivot(
        index="model_version", columns="age_bin", values="value"
    )[d.bins]
    readouts = {version: Readout(of, d) for version, of in rows.groupby("model_version")}
    models = shop.query("select month, model_version from month_model_assignments order by month")
    since = {version: min(calendar[month] for month, of in models if of == version) for _, version in models}
    posteriors = []
    for user, of_user in frame.groupby("user_id"):
        columns = [f"ll_{name}" for name in d.bins]
        months = [calendar[pd.Timestamp(month).date()] for month in of_user["month"]]
        log_likelihood = dict(zip(months, of_user[columns].to_numpy(), strict=True))
        days = dict(zip(months, of_user[DAYS].to_numpy(), strict=True))
        for month, model in models:
            if calendar[month] >= min(log_likelihood):
                arguments = readouts[model], priors.loc[model].to_numpy(), d, days, since[model]
                posteriors.append(
                    [user, pd.Timestamp(month), *published_row(log_likelihood, calendar[month], *arguments)]
                )
    return pd.DataFrame(posteriors, columns=[*KEYS, *d.outputs]).sort_values(KEYS, ignore_index=True)


def assert_posteriors_follow_the_formula(shop: Shop) -> None:
    expected, found = oracle(shop), shop.frame("birth_month_filter")
    for bound, age in {"expected": "expected", "latest": "youngest", "earliest": "oldest"}.items():
        born = found[f"{bound}_birth_month"]
        found[f"{age}_age"] = 12.0 * (found["month"].dt.year - born.dt.year) + found["month"].dt.month - born.dt.month
    found = found[expected.columns].sort_values(KEYS, ignore_index=True)
    found["month"] = found["month"].astype(expected["month"].dtype)
    pd.testing.assert_frame_equal(found, expected, check_exact=False, rtol=0, atol=1e-6)


def synthetic_log_likelihoods(bins: list[str]) -> pd.DataFrame:
    """Random users with gaps, and some users with months written by hand."""
    random, rows = np.random.default_rng(11), []

    def add(user: str, month: int, e: np.ndarray) -> None:
        version = "v1" if month < CHANGE_OF_MODEL else "v2"
        rows.append([user, MONTHS[month], version, *(np.round(e * 2**36) / 2**36)])

    for user in range(30):
        scale = random.choice([0.3, 2, 12])
        for month in range(random.integers(0, len(MONTHS) - 1), len(MONTHS)):
            if random.random() < 0.4:
                add(f"random {user}", month, random.normal(0, scale, len(bins)))
    ramp = np.linspace(-3, 3, len(bins))
    add("quiet", 3, ramp)
    add("outgrowing", 0, np.where(np.arange(len(bins)) == len(bins) - 1, 9.0, -4.0))
    add("outgrowing", 4, ramp)
    add("entering", 0, -4 * ramp)
    add("certain", 0, 2000.0 * np.isin(bins, ["21"]))  # the other weights are too small for a double
    for month in (2, 20):
        add("plain", month, ramp)
        add("plain and neutral", month, ramp)
    add("plain and neutral", 9, np.full(len(bins), 0.75))
    for month in (5, 11, 25):
        add("nothing but neutral", month, np.full(len(bins), -1.25))
    for user, second in {"quiet": None, "bought for a baby": ["2", "4", "6"], "as before": ["not_yet"]}.items():
        add(f"expecting, then {user}", 2, 9.0 * np.isin(bins, ["m3"]))
        if second is not None:
            add(f"expecting, then {user}", 9, 9.0 * np.isin(bins, second))
    found = pd.DataFrame(rows, columns=["user_id", "month", "model_version", *[f"ll_{name}" for name in bins]])
    days = random.exponential(size=(len(found), 3)).cumsum(axis=1)[:, ::-1]
    return found.assign(**dict(zip(DAYS, days.T, strict=True)))


def learned_rows(version: str, d: Divisions) -> list[list]:
    """Rows of stage_coefficients with random weights of the readout."""
    random = np.random.default_rng(3)
    stage_bins = [
        name
        for name, low, high in zip(d.bins, d.starts, d.ends, strict=True)
        if low >= d.first and high <= d.stages[-1][2]
    ]
    codes, bands = map(str, range(40)), [f"{stage} {band}" for stage, _, _ in d.stages for band in range(4)]
    rows = [["activity_weight", "", "", 0.7]]
    rows += [["log_tau", term, "", random.normal(0, 0.2)] for term in Readout.TERMS]
    rows += [["logit_delta", term, "", random.normal(-1, 0.5)] for term in Readout.TERMS]
    rows += [["bias", term, name, random.normal(0, 0.5)] for term in Readout.TERMS for name in stage_bins]
    rows += [["interval_level", band, "", random.uniform(0.1, 0.49)] for band in bands]
    rows += [["activity", code, name, random.normal(0, 0.5)] for code in codes for name in d.bins]
    return [[version, "readout", *row] for row in rows]


def synthetic_shop(base: Shop, folder, learned: Callable[[str, Divisions], list[list]] | None = None) -> Shop:
    """The base with another calendar, two models and synthetic log-likelihoods, before any posterior.

    learned: rows of a model's readout, for the later of the two.
    """
    shop = copy_shop(base, folder)
    bins = Divisions.of(shop).bins
    log_likelihood, random = synthetic_log_likelihoods(bins), np.random.default_rng(5)
    coefficients = []
    for version, values in READOUTS.items():
        shares = random.dirichlet(np.ones(len(bins)))
        coefficients += [
            [version, "log_likelihood", "initial_prior", "", name, share]
            for name, share in zip(bins, shares, strict=True)
        ]
        names = ("tau", "gamma", "delta", "birth_hazard")
        coefficients += [
            [version, "both", "setting", name, "", value] for name, value in zip(names, values, strict=True)
        ]
    coefficients += learned("v2", Divisions.of(shop)) if learned else []
    columns = ["model_version", "model_name", "parameter_type", "feature", "age_bin", "value"]
    models = pd.DataFrame(coefficients, columns=columns)
    models["trained_through"] = models["model_version"].map({"v1": MONTHS[CHANGE_OF_MODEL - 1], "v2": MONTHS[-1]})
    calendar = pd.DataFrame(
        {"month": MONTHS, "is_closed": True, "content_hash": [f"contents {month}" for month in MONTHS]}
    )
    versions = ["v1" if n < CHANGE_OF_MODEL else "v2" for n in range(len(MONTHS))]
    months = pd.DataFrame({"month": MONTHS, "model_version": versions})
    tables = {
        "stage_log_likelihoods": log_likelihood,
        "stage_coefficients": models,
        "month_calendar": calendar,
        "month_model_assignments": months,
    }
    with duckdb.connect(shop.warehouse) as connection:
        for table in [*tables, "birth_month_filter", "birth_month_filter_cells"]:
            connection.execute(f"delete from {table}")
        connection.execute("delete from build_log where model like 'birth_month_filter%'")
        for table, frame in tables.items():
            connection.register("frame", frame)
            connection.execute(f"insert into {table} by name select * from frame")
    return shop


def run_filter(shop: Shop) -> None:
    shop.build(only="readout_weights prior_by_tenure birth_month_filter")


@pytest.fixture(scope="module")
def synthetic(base, tmp_path_factory):
    shop = synthetic_shop(base, tmp_path_factory.mktemp("posteriors") / "synthetic")
    run_filter(shop)
    return shop


@pytest.fixture(scope="module")
def with_learned_readout(base, tmp_path_factory):
    shop = synthetic_shop(base, tmp_path_factory.mktemp("posteriors") / "learned", learned_rows)
    run_filter(shop)
    return shop


def of_user(shop: Shop, user: str, month=None) -> pd.DataFrame:
    where = f"user_id = '{user}'" + (f" and month = date '{month}'" if month else "")
    return shop.frame("birth_month_filter", where).sort_values("month").drop(columns=["user_id", "run_id"])


def cells(shop: Shop, month) -> pd.DataFrame:
    """The carried sums of a stored month, users by grid points in age order."""
    frame = shop.frame("birth_month_filter_cells", f"month = date '{month}'").set_index("user_id")
    others = ("c_birth", "c_peaks", "c_days", "c_unspecific", "c_purchase", "c_recent")
    return frame[[name for name in frame.columns if name.startswith("c_") and not name.startswith(others)]]


def test_posteriors_of_the_demo_follow_the_formula(base):
    assert len(base.frame("birth_month_filter")) > 1000
    assert_posteriors_follow_the_formula(base)


def test_posteriors_from_random_log_likelihoods_follow_the_formula(synthetic):
    assert_posteriors_follow_the_formula(synthetic)


def test_a_learned_readout_follows_the_formula(with_learned_readout, synthetic):
    assert_posteriors_follow_the_formula(with_learned_readout)
    changed, plain = (
        shop.frame("birth_month_filter").sort_values(KEYS, ignore_index=True).drop(columns="run_id")
        for shop in (with_learned_readout, synthetic)
    )
    is_later = changed["model_version"] == "v2"
    assert (changed["p_newborn"] - plain["p_newborn"])[is_later].abs().max() > 0.1
    pd.testing.assert_frame_equal(changed[~is_later], plain[~is_later])


def test_neutral_weights_give_the_plain_readout(base, synthetic, tmp_path):
    def neutral(version: str, d: Divisions) -> list[list]:
        tau, gamma, delta, _ = READOUTS[version]
        values = {("log_tau", "constant"): np.log(tau), ("log_tau", "log_active_months"): -gamma}
        values |= {("logit_delta", "constant"): np.log(delta / (1 - delta)), ("activity_weight", ""): 0.0}
        rows = [[*row[:5], values.get((row[2], row[3]), 0.0)] for row in learned_rows(version, d)]
        return [[*row[:5], 0.4 if row[2] == "interval_level" else row[5]] for row in rows]

    shop = synthetic_shop(base, tmp_path / "neutral", neutral)
    run_filter(shop)
    left, right = (
        of.frame("birth_month_filter").sort_values(KEYS, ignore_index=True).drop(columns="run_id")
        for of in (shop, synthetic)
    )
    pd.testing.assert_frame_equal(left, right, check_exact=False, rtol=0, atol=1e-12)


def test_every_user_has_a_row_in_every_month_from_the_first_active_on(synthetic):
    first = "select user_id, min(month) as month from stage_log_likelihoods group by user_id"
    expected = f"select user_id, m.month from ({first}) f join month_calendar m on m.month >= f.month"
    assert synthetic.query(f"({expected}) except (select user_id, month from birth_month_filter)") == []
    assert synthetic.query(f"(select user_id, month from birth_month_filter) except ({expected})") == []


def test_probabilities_sum_to_one(synthetic):
    frame = synthetic.frame("birth_month_filter")
    p = frame[[name for name in frame.columns if name.startswith("p_")]]
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=0, atol=1e-5)  # six rounded shares
    outside = frame["not_yet_expecting_probability"] + frame["graduated_probability"]
    assert p.min().min() > 0, "no stage is ever ruled out"
    assert outside.between(0, 1 + 1e-12).all()


def test_an_inactive_month_only_ages_the_child(synthetic):
    """The carried sums of a user inactive since December are those of December, shifted in age."""
    before, after = cells(synthetic, "2016-12-01").loc["quiet"], cells(synthetic, MONTHS[-1]).loc["quiet"]
    n = len(MONTHS) - 1 - list(MONTHS).index(pd.Timestamp("2016-12-01").date())
    assert n == 3
    np.testing.assert_array_equal(after.iloc[1 + n : -1], before.iloc[1 : -1 - n])
    np.testing.assert_array_equal(after.iloc[: 1 + n], before.iloc[0])  # before the grid: `not yet`
    assert after.iloc[-1] == max(before.iloc[-1 - n :])
    rows = of_user(synthetic, "quiet")
    assert rows["months_of_evidence"].eq(1).all() and rows["last_active_month"].nunique() == 1


def test_neutral_log_likelihoods_change_only_the_count(synthetic):
    """v2 has gamma 0, so that the count alone changes no probability."""
    plain, neutral = (of_user(synthetic, user, MONTHS[-1]) for user in ("plain", "plain and neutral"))
    assert neutral["months_of_evidence"].item() == plain["months_of_evidence"].item() + 1
    columns = plain.columns.drop(["months_of_evidence", "log_marginal_likelihood", "activity_code", *Readout.STORED])
    pd.testing.assert_frame_equal(plain[columns], neutral[columns], check_exact=False, rtol=0, atol=1e-12)


def test_a_user_without_log_likelihoods_has_the_prior(synthetic):
    found = of_user(synthetic, "nothing but neutral", MONTHS[-1]).iloc[0]
    tenure = len(MONTHS) - 1 - 5
    prior = synthetic.frame("prior_by_tenure", f"model_version = 'v2' and tenure_months = {tenure}").iloc[0]
    assert found["not_yet_expecting_probability"] == pytest.approx(prior["prior_not_yet"], abs=1e-6)
    assert found["graduated_probability"] == pytest.approx(prior["prior_graduated"], abs=1e-6)


@pytest.mark.parametrize(
    ("then", "is_confirmed"), [("quiet", False), ("as before", False), ("bought for a baby", True)]
)
def test_an_expected_birth_is_confirmed_only_by_later_behaviour(synthetic, then, is_confirmed):
    rows = of_user(synthetic, f"expecting, then {then}").reset_index(drop=True)
    assert rows["p_pregnancy"][0] > 0.9 and (rows["p_pregnancy"][4:7] < 0.1).all(), "by then time alone makes a birth"
    assert not rows["birth_confirmed"][:7].any()
    assert rows["birth_confirmed"][7:].eq(is_confirmed).all(), "from the second active month on, quiet months included"


def test_a_child_past_the_last_grid_point_stays_graduated(synthetic):
    graduated = of_user(synthetic, "outgrowing")["graduated_probability"].to_numpy()
    assert graduated[0] > 0.5 and graduated[3] > 0.5
    assert cells(synthetic, MONTHS[-1]).notna().all().all()


@pytest.mark.slow
@pytest.mark.parametrize("readout", ["synthetic", "with_learned_readout"])
def test_a_month_that_arrives_last_counts_as_if_in_order(readout, request, tmp_path):
    """The order of updates does not matter: the grid points of the newest month are a sum over all months."""
    synthetic = request.getfixturevalue(readout)
    shop = copy_shop(synthetic, tmp_path / "late")
    late = f"date '{MONTHS[15]}'"
    shop.change(
        f"create table withheld as from stage_log_likelihoods where month = {late}",
        f"delete from stage_log_likelihoods where month = {late}",
        f"update month_calendar set content_hash = 'none' where month = {late}",
    )
    run_filter(shop)
    assert not shop.frame("birth_month_filter").equals(synthetic.frame("birth_month_filter"))
    shop.change(
        "insert into stage_log_likelihoods from withheld",
        f"update month_calendar set content_hash = 'all' where month = {late}",
    )
    run_filter(shop)
    for table in ("birth_month_filter", "birth_month_filter_cells"):
        left, right = (one.frame(table).drop(columns="run_id", errors="ignore") for one in (shop, synthetic))
        pd.testing.assert_frame_equal(left, right, check_exact=False, rtol=0, atol=1e-12, obj=table)
