"""The algebra of the checkout beside plain restatements: linear model of baskets, similar texts, rankers, intervals."""

from datetime import date

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from life_stage_checkout.export import linear_model
from life_stage_checkout.leaderboard import comparisons, leaderboard
from life_stage_checkout.linear_model import gram_matrix, weights_of
from life_stage_checkout.nearest import NEAREST, nearest
from life_stage_checkout.ranker import MODELS, ONE_IN, coefficients, order
from life_stage_checkout.similar_items import similar_items


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), penalty=st.floats(0.1, 50))
def test_linear_weights_tell_each_item_from_the_others_with_least_penalised_error(seed, penalty):
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


def test_items_described_alike_are_near_and_a_rare_word_says_more():
    words = {1: "soft shirt blue", 2: "soft shirt red", 3: "soft stroller rare", 4: "soft chair rare", 5: "drill"}
    catalogue = pd.DataFrame({"item_no": words.keys(), "words": words.values()}).astype({"item_no": "int32"})
    items = pd.DataFrame({"item_no": words.keys(), "is_new": [False, True, True, False, True]})
    rows = similar_items(catalogue=duckdb.from_df(catalogue), items=duckdb.from_df(items)).to_pandas()
    best = rows.sort_values("score").groupby(["measure", "item_no"])["other_item_no"].last()
    assert best["alike"].to_dict() == {1: 2, 2: 1, 3: 4, 4: 3}
    assert best["novel"].to_dict() == {1: 2, 2: 3, 3: 2, 4: 3}
    assert (rows["item_no"] != rows["other_item_no"]).all()


def examples(n_cases=16_000, seed=1):
    """Candidates whose odds of being right are -2 + 2 habit + 1 together_cart, in a closed month and the next."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"case_no": np.repeat(np.arange(n_cases), 10), "item_no": np.tile(np.arange(10), n_cases)})
    names = ["popular", "popular_in_stage", "habit", "together_cart", "together_history", "alike_cart", "alike_history"]
    names += ["linear_cart", "linear_history", "stage_lift", "next_stage_lift", "popular_in_stage_place"]
    rows[names] = rng.random((len(rows), len(names)))
    odds = -2 + 2 * rows["habit"] + rows["together_cart"]
    is_late = rows["case_no"] >= n_cases * 3 // 4
    rows["is_target"] = (rng.random(len(rows)) < 1 / (1 + np.exp(-odds))).astype(int)
    rows["month"] = np.where(is_late, pd.Timestamp("2017-03-01"), pd.Timestamp("2017-02-01"))
    return rows.assign(kind="cart", is_closed=~is_late, is_judged=False)


def test_the_hybrid_finds_the_true_weights_from_a_tenth_of_the_wrong_candidates():
    with duckdb.connect() as connection:
        connection.register("frame", examples())
        relation = connection.sql("select * replace (month::date as month) from frame")
        rows = coefficients(examples=relation, options={"penalty": 0.001}).to_pandas().set_index("model")
    assert list(rows.index) == list(MODELS) and set(rows["month"]) == {date(2017, 3, 1)}
    hybrid = rows.loc["hybrid"]
    assert hybrid["intercept"] == pytest.approx(-2, abs=0.3)
    assert hybrid["w_habit"] == pytest.approx(2, abs=0.3) and hybrid["w_together_cart"] == pytest.approx(1, abs=0.3)
    assert abs(hybrid["w_popular"]) < 0.3
    read = {model: {name for name in rows if name.startswith("w_") and rows.at[model, name] != 0} for model in MODELS}
    assert read["habit"] == {"w_habit"} and read["together"] == {"w_together_cart"}
    assert read["hybrid"] - read["hybrid_without_stage"] == {
        "w_popular_in_stage",
        "w_popular_in_stage_place",
        "w_stage_lift",
        "w_next_stage_lift",
    }


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_order_within_cases_is_where_the_penalised_loss_is_least(seed):
    rng = np.random.default_rng(seed)
    matrix, case_no = rng.normal(size=(60, 3)) * [1, 5, 0.1], np.repeat(np.arange(10), 6)
    is_target = (matrix[:, 0] + rng.normal(size=60) > 1) & (case_no > 0)

    def loss(weights):
        total = 0.0
        for case in range(10):
            odds, right = matrix[case_no == case] @ weights, is_target[case_no == case]
            whole = np.exp(odds[right]) + ONE_IN * np.exp(odds[~right]).sum()
            total -= min(right.sum(), 3) * np.mean(odds[right] - np.log(whole)) if right.any() else 0.0
        return total / 10 + 0.01 * ((weights * matrix.std(axis=0)) ** 2).sum()

    found = order(matrix, is_target, case_no, 0.01)
    steps = np.eye(3) * 0.02 / matrix.std(axis=0)
    assert all(loss(found) < loss(found + sign * step) for step in steps for sign in (1, -1))


def case_scores(gain=0.05, n_users=300):
    rng = np.random.default_rng(1)
    base = pd.DataFrame({"case_no": range(n_users * 2), "user_id": np.repeat(np.arange(n_users), 2).astype(str)})
    base = base.assign(
        month=pd.Timestamp("2017-02-01"), kind="cart", stage="infant", activity="new", tenure="new", has_right_answers=1
    )
    base = base.assign(n_new_targets=0, n_new_hits_at_20=0, n_shown=10, n_places=10, squared_error=1.0)
    base = base.assign(excess_probability=0.1)
    luck = rng.random(len(base)) * 0.5
    frames = []
    for model, value in {"habit": luck, "hybrid": luck + gain + rng.normal(0, 0.05, len(base))}.items():
        figures = dict.fromkeys(["recall_at_10", "recall_at_20", "precision_at_10", "ndcg_at_10", "auc"], value)
        frames.append(base.assign(model=model, **figures))
    return pd.concat(frames, ignore_index=True)


def test_models_judged_on_the_same_draws_differ_by_less_than_each_is_uncertain():
    scores = case_scores()
    board = leaderboard(case_scores=duckdb.from_df(scores)).to_pandas().query("segment == 'all' and period == 'all'")
    pairs = comparisons(case_scores=duckdb.from_df(scores)).to_pandas().query("segment == 'all' and period == 'all'")
    found = board.set_index(["metric", "model"]).loc[("recall_at_10", "hybrid")]
    of_hybrid = scores[scores["model"] == "hybrid"]
    assert found["value"] == pytest.approx(of_hybrid["recall_at_10"].mean())
    by_user = of_hybrid.groupby("user_id")["recall_at_10"].mean()
    wanted = 2 * 1.96 * by_user.std() / np.sqrt(len(by_user))
    assert found["highest"] - found["lowest"] == pytest.approx(wanted, rel=0.15)
    pair = pairs.set_index(["metric", "model", "other_model"]).loc[("recall_at_10", "hybrid", "habit")]
    assert pair["lowest"] < 0.05 < pair["highest"]
    assert pair["highest"] - pair["lowest"] < (found["highest"] - found["lowest"]) / 2
    of_lists, of_places = {"recall_at_10", "recall_at_20", "map_at_10", "ndcg_at_10", "auc"}, {"exposure", "rmse"}
    assert set(board["metric"]) == of_lists | of_places | {"calibration_gap"}


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_exported_model_tells_the_probabilities_of_the_rows_of_weights(seed):
    pytest.importorskip("onnx", reason="needs the extra onnx")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    rng = np.random.default_rng(seed)
    weights, columns = rng.normal(0, 3, 40), rng.normal(0, 5, (50, 40))
    session = onnxruntime.InferenceSession(linear_model(list(weights), -2.5), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"columns": columns})
    np.testing.assert_allclose(found, 1 / (1 + np.exp(2.5 - columns @ weights)), atol=1e-5)
