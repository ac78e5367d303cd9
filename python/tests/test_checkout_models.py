"""Algebra of the checkout against plain implementations: linear basket model, text similarity, rankers, intervals."""

from datetime import date

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from life_stage_checkout.leaderboard import comparisons, leaderboard
from life_stage_checkout.linear_model import gram_matrix, positions_of, weights_of
from life_stage_checkout.nearest import NEAREST, nearest
from life_stage_checkout.ranker import (
    FIXED_WEIGHTS,
    KEYS,
    MODELS,
    ONE_IN,
    RankerSettings,
    calibration,
    coefficients,
    columns_of,
    even,
    fit,
    n_before,
    order,
)
from life_stage_checkout.similar_items import similar_items, similar_new_items
from life_stage_checkout.tuning import PENALTIES, bayesian, precision


def test_numbers_of_any_size_have_a_position():
    """Ids of queries begin with the month: 201708000401 of them would not fit into memory."""
    known = np.array([201708000401, 7, 12])
    assert positions_of(np.array([12, 5, 201708000401]), known).tolist() == [2, -1, 0]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), penalty=st.floats(0.1, 50))
def test_linear_weights_predict_each_item_from_the_others_with_least_penalised_error(seed, penalty):
    baskets = (np.random.default_rng(seed).random((30, 6)) < 0.4).astype(float)
    weights = weights_of(baskets.T @ baskets, penalty)
    for item in range(6):
        others = np.delete(np.arange(6), item)
        X = baskets[:, others]
        wanted = np.linalg.solve(X.T @ X + penalty * np.eye(5), X.T @ baskets[:, item])
        np.testing.assert_allclose(weights[others, item], wanted, atol=1e-8)


def test_a_gram_matrix_holds_the_known_pairs_both_ways():
    gram = gram_matrix(*(np.array(column) for column in ([7, 3], [5, 4], [3, 3, 9], [7, 9, 12], [2, 1, 1])))
    assert gram.tolist() == [[5, 2], [2, 4]]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_nearest_are_the_largest_and_of_equal_ones_the_first(seed):
    scores = np.random.default_rng(seed).integers(-1, 4, (3, NEAREST + 20)) / 4
    row, column, score = nearest(scores)
    for number in range(3):
        order = sorted(range(scores.shape[1]), key=lambda place: (-scores[number, place], place))[:NEAREST]
        assert set(column[row == number]) == {place for place in order if scores[number, place] > 0}
    assert (score == scores[row, column]).all()


def test_similar_descriptions_are_near_and_rare_words_weigh_more():
    words = {1: "soft shirt blue", 2: "soft shirt red", 3: "soft stroller rare", 4: "soft chair rare", 5: "drill"}
    catalogue = pd.DataFrame({"item_no": words.keys(), "words": words.values()}).astype({"item_no": "int32"})
    is_new = {"item_no": words.keys(), "is_new": [False, True, True, False, True], "month": date(2017, 1, 1)}
    given = {"catalogue": duckdb.from_df(catalogue)}
    rows = similar_items(**given).to_pandas()
    new = similar_new_items(**given, items=duckdb.from_df(pd.DataFrame(is_new)), month="2017-01-01").to_pandas()
    nearest_of = [found.sort_values("score").groupby("item_no")["other_item_no"].last() for found in (rows, new)]
    assert nearest_of[0].to_dict() == {1: 2, 2: 1, 3: 4, 4: 3}
    assert nearest_of[1].to_dict() == {1: 2, 2: 3, 3: 2, 4: 3}
    assert (rows["item_no"] != rows["other_item_no"]).all() and (new["item_no"] != new["other_item_no"]).all()


SAMPLED = f"is_relevant == 1 or (query_id * 7919 + item_no) % {ONE_IN} == 0"  # of simulated examples
OPTIONS = {"n_months": 2, "penalty": 0.001, "most_counted": 3, "even_stages": False}


def examples(n_queries=16_000, seed=1, n_newborn=0):
    """Candidates with log-odds of relevance -2 + 2 habit + 1 together_cart, in a closed month and the next.

    The first n_newborn queries are of newborns, with the weights of habit and together_cart exchanged.
    """
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"query_id": np.repeat(np.arange(n_queries), 10), "item_no": np.tile(np.arange(10), n_queries)})
    names = ["popular", "popular_in_stage", "habit", "together_cart", "together_history", "alike_cart", "alike_history"]
    names += ["linear_cart", "linear_history", "stage_lift", "next_stage_lift", "popular_in_stage_rank_score"]
    names += ["repeat_share", "popularity"]
    rows[names] = rng.random((len(rows), len(names)))
    is_newborn = rows["query_id"] < n_newborn
    odds = -2 + (2 - is_newborn) * rows["habit"] + (1 + is_newborn) * rows["together_cart"]
    is_late = rows["query_id"] >= n_queries * 3 // 4
    rows["is_relevant"] = (rng.random(len(rows)) < 1 / (1 + np.exp(-odds))).astype(int)
    rows["month"] = np.where(is_late, pd.Timestamp("2017-03-01"), pd.Timestamp("2017-02-01"))
    return rows.assign(kind="cart", stage=np.where(is_newborn, "newborn", "infant"))


def trained(frame, **options):
    """The coefficients by model."""
    with duckdb.connect() as connection:
        connection.register("frame", frame.query(SAMPLED))
        rows = connection.sql("select * replace (month::date as month) from frame")
        found = coefficients(examples=rows, month="2017-03-01", options=OPTIONS | options)
        return found.to_pandas().set_index("model")


def test_the_hybrid_recovers_the_true_weights_from_a_tenth_of_the_negatives():
    rows = trained(examples())
    assert list(rows.index) == list(MODELS) and set(rows["month"]) == {date(2017, 3, 1)}
    hybrid = rows.loc["hybrid"]
    assert hybrid["intercept"] == pytest.approx(-2, abs=0.3)
    assert hybrid["w_habit"] == pytest.approx(2, abs=0.3) and hybrid["w_together_cart"] == pytest.approx(1, abs=0.3)
    assert abs(hybrid["w_popular"]) < 0.3
    read = {model: {name for name in rows if name.startswith("w_") and rows.at[model, name] != 0} for model in MODELS}
    assert read["habit"] == {"w_habit"} and read["together"] == {"w_together_cart"}
    assert read["gp_topfreq"] == {"w_repeat_share", "w_popularity", "w_habit", "w_popular"}
    assert read["hybrid"] - read["hybrid_without_stage"] == {
        "w_popular_in_stage",
        "w_popular_in_stage_rank_score",
        "w_stage_lift",
        "w_next_stage_lift",
    }


def test_a_generator_without_candidates_so_far_predicts_the_base_rate():
    """Probabilities are needed once it has candidates; each sampled negative stands for ONE_IN."""
    rows = pd.DataFrame({"alike_cart": 0.0, "is_relevant": np.arange(1000) < 100, "query_id": 0})
    intercept, weights = fit(rows, ["alike_cart"], RankerSettings(0.001, 3))
    assert 1 / (1 + np.exp(-intercept)) == pytest.approx(100 / (100 + 900 * ONE_IN)) and weights["alike_cart"] > 0


def test_the_even_hybrid_weighs_few_newborns_like_all_others():
    frame = examples(n_newborn=1_600)
    rows = trained(frame, even_stages=True)
    assert list(rows.index) == [*MODELS, "hybrid_even"]
    share = rows["w_together_cart"] / rows["w_habit"]
    assert share["hybrid"] < 0.8 and share["hybrid_even"] == pytest.approx(1, abs=0.2)
    counts = even(frame)
    assert counts[frame["stage"] == "newborn"].sum() == pytest.approx(counts[frame["stage"] == "infant"].sum())
    # A row that counts twice is the row twice.
    one, other = (frame.query(f"query_id {where} 1_000").head(4_000) for where in ("<", ">="))
    twice = pd.concat([one, one.assign(query_id=one["query_id"] - 100_000), other]).sort_values(["query_id", "item_no"])
    once = pd.concat([one, other])
    counted = np.where(once["query_id"] < 1_000, 2.0, 1.0)
    for columns in (["habit"], ["habit", "popular"]):
        (_, found), (_, wanted) = (
            fit(frame, columns, RankerSettings(0.0, 3), counts) for frame, counts in ((once, counted), (twice, 1.0))
        )
        assert list(found.values()) == pytest.approx(list(wanted.values()), rel=1e-2)


def test_other_models_are_the_same_with_and_without_the_network():
    frame = examples().assign(habit_rank_score=1.0)
    alone = frame.sample(2_000, random_state=1).assign(habit=0.0, popular_in_stage=0.0, deep=1.0, deep_rank_score=1.0)
    alone["item_no"] += 100
    both = pd.concat([frame.assign(deep=0.5, deep_rank_score=0.5), alone])
    without, beside = trained(frame), trained(both)
    assert set(beside.index) - set(without.index) == {"deep"} and beside.loc["deep", "w_deep"] != 0
    beside = beside.drop(index="deep")
    assert (beside[["w_deep", "w_deep_rank_score"]] == 0).all(axis=None)
    pd.testing.assert_frame_equal(beside[without.columns], without)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_ranking_model_minimises_the_penalised_loss_within_queries(seed):
    rng = np.random.default_rng(seed)
    matrix, query_id = rng.normal(size=(60, 3)) * [1, 5, 0.1], np.repeat(np.arange(10), 6)
    is_relevant = (matrix[:, 0] + rng.normal(size=60) > 1) & (query_id > 0)

    def loss(weights):
        total = 0.0
        for case in range(10):
            odds, right = matrix[query_id == case] @ weights, is_relevant[query_id == case]
            whole = np.exp(odds[right]) + ONE_IN * np.exp(odds[~right]).sum()
            total -= min(right.sum(), 3) * np.mean(odds[right] - np.log(whole)) if right.any() else 0.0
        return total / 10 + 0.01 * ((weights * matrix.std(axis=0)) ** 2).sum()

    found = order(matrix, is_relevant, query_id, RankerSettings(0.01, 3))
    steps = np.eye(3) * 0.02 / matrix.std(axis=0)
    assert all(loss(found) < loss(found + sign * step) for step in steps for sign in (1, -1))


def noisy_months(months, n_queries=150, n_items=60, n_noise=40, seed=1):
    """Candidates with log-odds of relevance -5 + 2 habit, and columns of noise, to which a model overfits."""
    rng, n = np.random.default_rng(seed), n_queries * len(months)
    rows = pd.DataFrame({"query_id": np.repeat(np.arange(n), n_items), "item_no": np.tile(np.arange(n_items), n)})
    names = ["popular", "popular_in_stage", "habit", "together_cart", "alike_cart", "linear_cart"]
    names += ["repeat_share", "popularity"]
    names += [f"noise_{number}" for number in range(n_noise)]
    rows = rows.join(pd.DataFrame(rng.random((len(rows), len(names))) + 0.01, columns=names))
    is_relevant = rng.random(len(rows)) < 1 / (1 + np.exp(5 - 2 * rows["habit"]))
    month = np.repeat([pd.Timestamp(month) for month in months], n_queries * n_items)
    facts = {"month": month, "is_relevant": is_relevant.astype(int), "habit_rank_score": rows["habit"] ** 2}
    return rows.assign(**facts, kind="cart", stage="infant")


def test_probabilities_of_the_first_items_are_those_of_the_next_month():
    """Two training months; the third one is predicted, with all its items."""
    whole = noisy_months(["2017-01-01", "2017-02-01", *["2017-03-01"] * 8])
    before, after = whole[whole["month"] < "2017-03-01"], whole[whole["month"] == "2017-03-01"]
    found, one_month = trained(before), trained(before[before["month"] == "2017-02-01"])
    ratios = {}
    for name, rows in (("calibrated", found), ("one month", one_month)):
        weights = rows.loc["hybrid"].filter(like="w_").astype(float)
        odds = rows.at["hybrid", "intercept"] + after[[column[2:] for column in weights.index]] @ weights.to_numpy()
        first = after.assign(odds=odds).sort_values("odds", ascending=False).groupby("query_id").head(10)
        ratios[name] = (1 / (1 + np.exp(-first["odds"]))).mean() / first["is_relevant"].mean()
    assert ratios["one month"] > 1.3, "a single month is not calibrated"
    assert ratios["calibrated"] == pytest.approx(1, abs=0.1)


def test_calibration_keeps_the_order_and_uses_models_of_the_other_month():
    frame = noisy_months(["2017-01-01", "2017-02-01"]).query(SAMPLED)
    rows, setting = trained(frame), RankerSettings(OPTIONS["penalty"], OPTIONS["most_counted"])
    names = [name for name in frame if name not in KEYS]
    is_early = (frame["month"] == "2017-01-01").to_numpy()
    for model in MODELS:
        used = columns_of(model, "cart", names)
        fixed = FIXED_WEIGHTS.get(model)
        intercept, weights = fit(frame, used, setting, fixed=fixed)
        held_out = np.empty(len(frame))
        for part in (is_early, ~is_early):
            constant, factors = fit(frame[~part], used, setting, fixed=fixed)
            held_out[part] = constant + frame.loc[part, used] @ [factors[name] for name in used]
        offset, slope = calibration(held_out, frame["is_relevant"].to_numpy(), frame["query_id"].to_numpy())
        wanted = [max(slope * weights[name], 1e-6 if len(used) == 1 else -np.inf) for name in used]
        assert list(rows.loc[model, [f"w_{name}" for name in used]]) == pytest.approx(wanted, rel=1e-4) and slope > 0
        assert rows.at[model, "intercept"] == pytest.approx(offset + slope * intercept, rel=1e-4)


def test_the_estimated_number_of_items_before_is_that_of_all_items():
    """Queries of 150 irrelevant items with their own mean and spread; a tenth of them is sampled."""
    rng = np.random.default_rng(1)
    irrelevant = np.sort(rng.normal(rng.normal(0, 3, (400, 1)), rng.uniform(0.5, 2, (400, 1)), (400, 150)))[:, ::-1]
    relevant = irrelevant[:, [5, 30]] + 1e-9
    is_sampled = rng.random(irrelevant.shape) < 1 / ONE_IN
    rows = [(query, odds, 1, n) for query in range(400) for odds, n in zip(relevant[query], (5, 30), strict=True)]
    rows += [(query, irrelevant[query, n], 0, n) for query, n in np.argwhere(is_sampled)]
    query, odds, is_relevant, n = np.array(sorted(rows)).T
    found = n_before(odds, is_relevant, query)
    for wanted in (5, 30):
        assert found[(is_relevant == 1) & (n == wanted)].mean() == pytest.approx(wanted, rel=0.25)
    assert ((found < 10) == (n < 10)).mean() > 0.9


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), is_reversed=st.booleans())
def test_calibration_minimises_the_log_loss_of_the_first_items_with_a_positive_slope(seed, is_reversed):
    rng = np.random.default_rng(seed)
    query, odds = np.repeat(np.arange(1_000), 10), rng.normal(-2, 1, 10_000)
    truth = -3 - odds if is_reversed else 1 + 2 * odds
    is_relevant = (rng.random(10_000) < 1 / (1 + np.exp(-truth))).astype(int)
    is_first = n_before(odds, is_relevant, query) < 10

    def loss(offset, slope):
        probability = 1 / (1 + np.exp(-offset - slope * odds))
        each = np.where(is_relevant == 1, -np.log(probability), -ONE_IN * np.log(1 - probability))
        return each[is_first].sum()

    offset, slope = calibration(odds, is_relevant, query)
    assert slope == 0.1 if is_reversed else slope > 0.1
    for step in (0.02, -0.02):
        assert loss(offset, slope) < loss(offset + step, slope)
        assert slope + step < 0.1 or loss(offset, slope) < loss(offset, slope + step)


def query_scores(gain=0.05, n_users=300):
    rng = np.random.default_rng(1)
    base = pd.DataFrame({"query_id": range(n_users * 2), "user_id": np.repeat(np.arange(n_users), 2).astype(str)})
    base = base.assign(
        month=pd.Timestamp("2017-02-01"),
        kind="cart",
        stage="infant",
        activity="new",
        tenure="new",
        has_relevant_items=1,
    )
    base = base.assign(
        n_new_relevant=0, n_new_hits_at_20=0, has_next_needs=1, n_shown=10, n_ranks=10, squared_error=1.0
    )
    base = base.assign(excess_probability=0.1)
    luck = rng.random(len(base)) * 0.5
    frames = []
    for model, value in {"habit": luck, "hybrid": luck + gain + rng.normal(0, 0.05, len(base))}.items():
        names = ["recall_at_10", "recall_at_20", "precision_at_10", "ndcg_at_10", "auc"]
        figures = dict.fromkeys([*names, "type_recall_at_10", "next_need_recall_at_10"], value)
        frames.append(base.assign(model=model, **figures))
    return pd.concat(frames, ignore_index=True)


def test_paired_bootstrap_differences_are_less_uncertain_than_each_model():
    scores = query_scores()
    board = leaderboard(query_scores=duckdb.from_df(scores)).to_pandas().query("segment == 'all' and period == 'all'")
    pairs = comparisons(query_scores=duckdb.from_df(scores)).to_pandas().query("segment == 'all' and period == 'all'")
    found = board.set_index(["metric", "model"]).loc[("recall_at_10", "hybrid")]
    of_hybrid = scores[scores["model"] == "hybrid"]
    assert found["value"] == pytest.approx(of_hybrid["recall_at_10"].mean())
    by_user = of_hybrid.groupby("user_id")["recall_at_10"].mean()
    wanted = 2 * 1.96 * by_user.std() / np.sqrt(len(by_user))
    assert found["highest"] - found["lowest"] == pytest.approx(wanted, rel=0.15)
    pair = pairs.set_index(["metric", "model", "other_model"]).loc[("recall_at_10", "hybrid", "habit")]
    assert pair["lowest"] < 0.05 < pair["highest"]
    assert pair["highest"] - pair["lowest"] < (found["highest"] - found["lowest"]) / 2
    of_lists, of_ranks = (
        {
            "type_recall_at_10",
            "next_need_recall_at_10",
            "recall_at_10",
            "recall_at_20",
            "map_at_10",
            "ndcg_at_10",
            "auc",
        },
        {"exposure", "rmse"},
    )
    assert set(board["metric"]) == of_lists | of_ranks | {"calibration_gap"}


def baskets_of_pairs(n_users=300, n_items=20, seed=1):
    """Lines of baskets with an item, its pair (2k and 2k + 1) and a random one; half is context."""
    rng, rows = np.random.default_rng(seed), []
    for user in range(n_users):
        for visit in range(4):
            one, other = 2 * rng.integers(n_items // 2) + 1, rng.integers(1, n_items + 1)
            for item_no in {one, one + 1, other}:
                is_context_item = item_no == one if rng.random() < 0.5 else item_no == one + 1
                facts = {
                    "user_id": f"{user}",
                    "basket_id": f"{user} {visit}",
                    "item_no": item_no,
                    "is_context_item": is_context_item,
                }
                rows.append(facts | {"month": date(2017, 1, 1), "acted_on": date(2017, 1, 1 + 5 * visit)})
    return pd.DataFrame(rows).astype({"item_no": "int32"})


def test_the_network_recommends_co_purchased_items_and_no_context_items():
    network = pytest.importorskip("life_stage_checkout.neural_network", reason="needs the extra deep")
    lines, carts = baskets_of_pairs(), pd.DataFrame({"query_id": range(100, 120), "item_no": range(1, 21)})
    carts = carts.assign(month=date(2017, 2, 1), context="cart", weight=1.0)
    relations = {
        "items": lines.groupby("item_no", as_index=False).size().rename(columns={"size": "n_lines"}),
        "lines": lines,
        "queries": carts[["query_id", "month"]],
        "query_items": carts,
        "query_habits": pd.DataFrame({"month": [date(2017, 2, 1)], "query_id": [100], "item_no": [9], "score": [0.0]}),
    }
    relations["items"] = relations["items"].assign(month=date(2017, 2, 1))
    options = {"n_items": 100, "n_baskets": 10_000, "half_life_days": 60}

    def scores(**changed):
        given = {name: duckdb.from_df(frame) for name, frame in (relations | changed).items()}
        return network.neural_scores(**given, month="2017-02-01", options=options).to_pandas()

    found = scores()
    best = found.sort_values("score").groupby("query_id")["item_no"].last()
    assert list(best) == [item_no + 1 if item_no % 2 else item_no - 1 for item_no in range(1, 21)]
    assert found.merge(carts, on=["query_id", "item_no"]).empty and found.groupby("query_id").size().eq(19).all()
    later = lines.assign(month=date(2017, 2, 1), item_no=lines["item_no"] % 20 + 1)
    pd.testing.assert_frame_equal(scores(lines=pd.concat([lines, later])), found)


def test_the_network_uses_decayed_earlier_purchases():
    network = pytest.importorskip("life_stage_checkout.neural_network", reason="needs the extra deep")
    lines, items = baskets_of_pairs(n_users=30), np.array([3, 1, 2, 5, 8, 4, 6, 7, 9, 10])  # half of all items
    options = {"n_baskets": 80, "half_life_days": 7}
    ordered = duckdb.from_df(lines).order("user_id, acted_on, month, basket_id, item_no")
    inputs, wanted, _ = network.baskets(ordered, items, options)
    newest = lines.drop_duplicates("basket_id").sort_values(["user_id", "acted_on"])
    newest = (
        newest.sort_values("acted_on", ascending=False, kind="stable").head(80).sort_values(["user_id", "acted_on"])
    )
    for place, basket in enumerate(newest.itertuples()):
        before = lines[(lines["user_id"] == basket.user_id) & (lines["acted_on"] < basket.acted_on)]
        inside = lines[lines["basket_id"] == basket.basket_id]
        for column, item_no in enumerate(items):
            days = [(basket.acted_on - day).days for day in before.loc[before["item_no"] == item_no, "acted_on"]]
            assert inputs.habits[place, column] == pytest.approx(sum(0.5 ** (n / 7) for n in days))
            given = inside.loc[inside["item_no"] == item_no, "is_context_item"].tolist()
            assert [inputs.carts[place, column], wanted[place, column]] == [given == [True], given == [False]]


def noisy_carts(n_queries=20, n_candidates=40, n_noise=100, seed=1):
    """Candidates with one weakly informative column and a hundred columns of noise; three are relevant."""
    rng = np.random.default_rng(seed)
    query_id = np.repeat(np.arange(n_queries), n_candidates)
    is_relevant = (np.tile(np.arange(n_candidates), n_queries) < 3).astype(int)
    columns = rng.normal(size=(len(query_id), 1 + n_noise))
    columns[:, 0] += is_relevant
    frame = pd.DataFrame(columns, columns=["informative", *(f"noise_{n}" for n in range(n_noise))])
    facts = {
        "query_id": query_id,
        "item_no": rng.permutation(len(query_id)),
        "is_relevant": is_relevant,
        "n_relevant": 4,
    }
    facts["is_training"] = is_relevant.astype(bool) | (facts["item_no"] % ONE_IN == 0)
    return frame.assign(**facts, part=query_id % 5), list(frame)


def test_a_setting_is_evaluated_on_held_out_carts():
    rows, columns = noisy_carts()
    figures = [precision(RankerSettings(penalty, 3), rows, columns) for penalty in PENALTIES]
    informative = precision(RankerSettings(0.001, 3), rows, ["informative"])
    wanted = []
    for _, of_case in rows.sort_values("informative", ascending=False).groupby("query_id"):
        hits = of_case["is_relevant"].head(10)
        wanted.append(sum(hits[: n + 1].sum() / (n + 1) for n in range(10) if hits.iloc[n]) / 4)
    assert informative == pytest.approx(np.mean(wanted))
    assert max(figures) < informative, "a fit to noise does not generalise"


def test_the_bayesian_search_finds_the_best_setting_and_the_same_again_with_the_same_seed():
    pytest.importorskip("optuna", reason="needs the extra tuning")

    def objective(setting: RankerSettings) -> float:
        return -abs(np.log10(setting.penalty) + 2) - abs(setting.most_counted - 4)

    first, again, other = (list(bayesian(objective, seed, 40)) for seed in (1, 1, 2))
    assert first == again != other
    best = max(first, key=lambda tried: tried[1])[0]
    assert best.most_counted == 4 and 0.003 < best.penalty < 0.03
