"""Checkout: features before a month, recommendations and evaluation, against plain implementations."""

import shutil
from datetime import date
from hashlib import md5
from itertools import product
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from conftest import CHECKOUT_VARS as MONTHS
from project import SMALL, assert_same, copy_shop
from scipy.sparse import csr_matrix
from test_intervals import limits_of_users
from test_manifest import READ_ON_DEMAND

from life_stage_checkout import empty_carts
from life_stage_checkout.checkout_index import CheckoutIndex
from life_stage_checkout.load_test import load_test
from life_stage_checkout.ranker import ONE_IN, RankerSettings
from life_stage_checkout.request_log import RequestLog
from life_stage_checkout.serving import Recommender
from life_stage_checkout.tuning import COUNTED, PENALTIES, SETTING, search, values_of


@pytest.fixture(scope="module")
def tables(checkout):
    """The tables of the checkout, as frames; months as days."""
    sql = "select table_name from information_schema.tables where table_name like 'checkout%' and table_type in {}"
    names = [name for (name,) in checkout.query(sql.format(("BASE TABLE", "VIEW")))]
    with duckdb.connect(checkout.warehouse, read_only=True) as connection:
        return {name.removeprefix("checkout_"): connection.table(name).df() for name in names}


def in_evaluated_months(tables, name):
    """The rows of a table in the months on which models are evaluated."""
    return tables[name][tables[name]["month"].isin(tables["months"].query("is_evaluated")["month"])]


def actions_in_baskets(shop):
    sql = "select * from stg_actions where action in ('cart', 'purchase') and item_id is not null"
    with duckdb.connect(shop.warehouse, read_only=True) as connection:
        return connection.execute(sql).df()


def test_a_visit_is_the_sources_or_ends_after_half_an_hour_or_with_the_month(checkout, tmp_path):
    shop = copy_shop(checkout, tmp_path / "visits")
    rows = [
        ("a", "null", "2017-01-05 10:00:00", "1"),
        ("a", "null", "2017-01-05 10:30:00", "2"),
        ("a", "null", "2017-01-05 11:00:01", "3"),
        ("a", "'s'", "2017-01-05 10:10:00", "4"),
        ("a", "'s'", "2017-01-05 15:00:00", "5"),
        ("b", "'s'", "2017-01-05 15:00:00", "5"),
        ("b", "null", "2017-01-31 23:59:00", "6"),
        ("b", "null", "2017-02-01 00:01:00", "7"),
    ]
    shop.change("delete from stg_action_rows where action in ('cart', 'purchase')")
    for number, (user, session, time, item) in enumerate(rows):
        shop.change(
            f"""insert into stg_action_rows by name select date_trunc('month', timestamp '{time}')::date as month,
            '{number}' as action_id, '{user}' as user_id, timestamp '{time}' as occurred_at,
            date '{time[:10]}' as acted_on, 'purchase' as action, '{item}' as item_id, {session} as session_id,
            false as is_duplicate"""
        )
    shop.build(only="checkout_months checkout_catalogue checkout_lines", **MONTHS)
    baskets = shop.frame("checkout_lines").groupby(["month", "basket_id"])["item_id"].apply(list)
    assert sorted(baskets) == [["1", "2"], ["3"], ["4", "5"], ["5"], ["6"], ["7"]]


def test_half_of_a_basket_is_context_and_the_other_half_relevant(tables):
    lines = tables["lines"].groupby(["month", "basket_id"])["is_context_item"]
    assert (lines.sum() == lines.size() // 2).all()
    share = (
        tables["lines"]
        .loc[lines.transform("size") == 2]
        .sort_values("item_no")
        .groupby(["month", "basket_id"])["is_context_item"]
        .first()
        .mean()
    )
    assert 0.4 < share < 0.6  # at random: the first item is context in half of the baskets


def test_habits_are_baskets_with_a_half_life_of_sixty_days(checkout, tables):
    lines = tables["lines"].assign(acted_on=lambda rows: pd.to_datetime(rows["acted_on"]))
    queries = tables["queries"].groupby("month")["user_id"]
    for month, habits in tables["habits"].groupby("month"):
        before = lines[lines["acted_on"] < month]
        if month < pd.Timestamp("2017-03-01"):  # every user has features of the open month
            before = before[before["user_id"].isin(queries.get_group(month))]
        weight = 0.5 ** ((month - before["acted_on"]).dt.days / 60)
        wanted = before.assign(score=weight).groupby(["user_id", "item_no"])["score"].sum()
        found = habits.set_index(["user_id", "item_no"])["score"]
        pd.testing.assert_series_equal(found.sort_index(), wanted, check_exact=False, rtol=0, atol=1e-6)


def test_features_of_a_cart_end_the_day_before_and_those_of_an_empty_cart_before_the_month(tables):
    lines = tables["lines"].assign(acted_on=lambda rows: pd.to_datetime(rows["acted_on"]))
    queries = tables["queries"].assign(queried_on=lambda rows: pd.to_datetime(rows["queried_on"]))
    assert (queries["queried_on"] == queries["month"])[queries["kind"] == "user"].all()
    bought = queries[["query_id", "user_id", "queried_on"]].merge(lines, on="user_id").query("acted_on < queried_on")
    bought["score"] = 0.5 ** ((bought["queried_on"] - bought["acted_on"]).dt.days / 60)
    rows = bought.groupby(["query_id", "item_no"])
    found = tables["query_habits"].set_index(["query_id", "item_no"]).sort_index()
    pd.testing.assert_series_equal(found["score"], rows["score"].sum(), rtol=0, atol=1e-6)
    pd.testing.assert_series_equal(found["n_baskets"], rows.size(), check_names=False)
    queried, first, last = rows["queried_on"].first(), rows["acted_on"].min(), rows["acted_on"].max()
    assert (found["since_days"] == (queried - last).dt.days).all()
    interval = ((last - first).dt.days / (rows.size() - 1)).where(rows.size() > 1)
    np.testing.assert_allclose(found["interval_days"], interval)
    in_month = bought[bought["acted_on"] >= bought["queried_on"].dt.to_period("M").dt.start_time]
    assert len(in_month) > 0


def test_the_last_of_twenty_ranks_are_for_the_best_new_items_and_the_others_keep_their_order(tables):
    new = tables["items"].query("is_new").set_index(["month", "item_no"]).index
    months = tables["queries"].set_index("query_id")["month"]
    ranked = tables["rankings"].query("model == 'hybrid' and rank <= 20").sort_values(["query_id", "rank"])
    ranked = ranked.assign(is_new=[(months[row.query_id], row.item_no) in new for row in ranked.itertuples()])
    assert (ranked[ranked["is_new"]].groupby("query_id").size() >= 1).any()
    evaluated = in_evaluated_months(tables, "examples")
    names_two = evaluated.query("is_new and kind == 'cart'").groupby("query_id").size() >= 2
    served = ranked.groupby("query_id")["is_new"].sum()
    assert (served[names_two[names_two].index] >= 2).all() and names_two.sum() > 0
    carts = set(tables["queries"].query("kind == 'cart'")["query_id"])  # an empty one has a place for a next need
    early = ranked[(ranked["rank"] <= 18) & ranked["query_id"].isin(carts)]
    assert (early.groupby("query_id")["probability"].diff().dropna() <= 0).all()
    late = ranked[(ranked["rank"] > 18) & ranked["is_new"]]
    assert (late.groupby("query_id")["probability"].diff().dropna() <= 0).all() and len(late) > 0


def test_next_needs_are_of_leaf_categories_that_the_shopper_never_looked_at(tables):
    leaf_of, months = tables["catalogue"].set_index("item_no")["leaf_no"], tables["queries"].set_index("query_id")
    carts = tables["query_items"].query("context == 'cart'").groupby("query_id")["item_no"].apply(set)
    visits = tables["visits"]
    type_of = tables["catalogue"].set_index("item_no")["type_no"]
    scores = dict(list(tables["type_scores"].groupby("query_id")))
    relevant = tables["relevant_items"].groupby("query_id")["item_no"].apply(set)
    ranked = tables["rankings"].query("model == 'hybrid' and rank <= 10").groupby("query_id")["item_no"].apply(set)
    figures = tables["query_scores"].query("model == 'hybrid'").set_index("query_id")
    n_needs = 0
    for query in list(figures.index[::7]):
        facts = months.loc[query]
        seen = visits[(visits["user_id"] == facts["user_id"]) & (visits["month"] < facts["month"])]["item_no"]
        looked_at = set(leaf_of[seen]) | set(leaf_of[list(carts.get(query, ()))])
        found = scores[query]
        is_need = {type_no for item, type_no in type_of.items() if leaf_of[item] not in looked_at}
        assert set(found.loc[found["is_next_need"], "type_no"]) == is_need
        assert (found["need_share"] == found["history_share"].where(found["is_next_need"], 0)).all()
        wanted = set(type_of[list(relevant.get(query, ()))])
        shown = set(type_of[list(ranked.get(query, ()))])
        recall = len(wanted & shown) / len(wanted) if wanted else 0
        needs = wanted & is_need
        found = figures.loc[query, ["type_recall_at_10", "next_need_recall_at_10", "has_next_needs"]]
        assert tuple(found) == pytest.approx((recall, len(needs & shown) / max(len(needs), 1), int(bool(needs))))
        n_needs += bool(needs)
    assert n_needs > 5


def test_the_tenth_place_of_an_empty_cart_is_for_the_best_next_need(tables):
    needs = tables["examples"].query("kind == 'user' and is_next_need").set_index(["query_id", "item_no"]).index
    ranked = tables["rankings"].sort_values(["model", "query_id", "rank"])
    ranked = ranked[ranked["query_id"].isin(needs.get_level_values(0))]
    ranked = ranked.assign(is_need=[pair in needs for pair in zip(ranked["query_id"], ranked["item_no"], strict=True)])
    n_placed = 0
    for (model, _), rows in ranked.groupby(["model", "query_id"]):
        first = rows.head(9)
        assert (rows.head(10)["probability"].diff().dropna() <= 0).all()
        if model.startswith("hybrid") and rows["is_need"].any() and not first["is_need"].any():
            assert rows.iloc[9]["is_need"]
            assert rows.iloc[9]["probability"] == rows.loc[rows["is_need"], "probability"].max()
            n_placed += rows.iloc[9]["probability"] < rows.iloc[10:]["probability"].max()
    assert n_placed > 5


def test_labels_are_purchases_of_known_users_in_the_first_days(checkout, tables):
    bought = actions_in_baskets(checkout).query("action == 'purchase'")
    numbers = tables["catalogue"].set_index("item_id")["item_no"]
    wanted = set()
    for month, users in tables["users"].groupby("month"):
        days = (pd.to_datetime(bought["acted_on"]) - month).dt.days
        soon = bought[(days >= 0) & (days < 28) & bought["user_id"].isin(users["user_id"])]
        wanted |= {(month, user, numbers[item]) for user, item in zip(soon["user_id"], soon["item_id"], strict=True)}
    assert set(tables["labels"][["month", "user_id", "item_no"]].itertuples(index=False, name=None)) == wanted
    assert wanted


def test_co_purchase_similarity_is_the_cosine_of_baskets(tables):
    lines = tables["lines"]
    for month, neighbours in tables["neighbours"].query("measure == 'together'").groupby("month"):
        before = lines[lines["month"] < month]
        basket, _ = pd.factorize(before["month"].astype(str) + before["basket_id"])
        held = csr_matrix((np.ones(len(before)), (basket, before["item_no"])))
        shared = (held.T @ held).tocsr()
        n_lines = shared.diagonal()
        item, other = neighbours["item_no"], neighbours["other_item_no"]
        wanted = np.asarray(shared[item, other]).ravel() / np.sqrt(n_lines[item] * n_lines[other])
        np.testing.assert_allclose(neighbours["score"], wanted, atol=1e-12)
        n_belonging = np.asarray((shared >= 2).sum(axis=1)).ravel() - (n_lines >= 2)
        assert len(neighbours) == np.minimum(n_belonging, 50).sum()


def test_the_shares_of_the_items_sum_to_one_in_all_and_in_each_stage(tables):
    for table in ("items", "product_types"):
        shares = tables[table].filter(regex="^(month|share)(?!_of)").groupby("month").sum()
        assert shares.shape[1] == 7
        np.testing.assert_allclose(shares, 1, atol=1e-9)
    np.testing.assert_allclose(tables["items"].groupby(["month", "type_no"])["share_of_type"].sum(), 1, atol=1e-9)


def test_the_share_of_a_type_is_what_visits_with_the_types_of_the_query_hold(checkout, tables):
    """Pairs of items of a visit, shrunk by twenty to the shares of all items; views fade by half in two months."""
    sql = """select distinct month, user_id, session_id, type_no, item_no from stg_actions
        join checkout_catalogue using (item_id) where item_id is not null"""
    with duckdb.connect(checkout.warehouse, read_only=True) as connection:
        seen = connection.sql(sql).df()
    n, month = tables["catalogue"]["type_no"].max(), tables["queries"]["month"].max()
    seen = seen[seen["month"] < month].assign(type=lambda rows: rows["type_no"] - 1)
    share = (np.bincount(seen["type"], minlength=n) + 0.5) / (len(seen) + 0.5 * n)
    pairs = np.zeros((n, n))
    for _, visit in seen.groupby(["month", "user_id", "session_id"])["type"]:
        held = np.bincount(visit, minlength=n)
        pairs += np.outer(held, held) - np.diag(held)
    given = (pairs + 20 * share) / (pairs.sum(axis=1, keepdims=True) + 20)
    age = (month.year - seen["month"].dt.year) * 12 + month.month - seen["month"].dt.month
    looked_at = seen.assign(weight=0.5 ** (age / 2)).groupby(["user_id", "type"])["weight"].sum()
    of_item = tables["catalogue"].set_index("item_no")["type_no"] - 1
    carts = tables["query_items"].query("context == 'cart'").groupby("query_id")["item_no"].apply(list)
    scores = tables["type_scores"].sort_values("type_no").groupby("query_id")
    for query in tables["queries"].query("month == @month").groupby("kind").head(20).itertuples():
        found, own = scores.get_group(query.query_id), np.zeros(n)
        if query.user_id in looked_at.index:
            known = looked_at[query.user_id]
            own[known.index] = known
        types = of_item[carts.get(query.query_id, [])].to_numpy()
        np.testing.assert_allclose(found["cart_share"], given[types].mean(axis=0) if len(types) else share, atol=1e-9)
        np.testing.assert_allclose(found["history_share"], (own @ given + 4 * share) / (own.sum() + 4), atol=1e-6)
        np.testing.assert_allclose(found["browsed_share"], (own + 4 * share) / (own.sum() + 4), atol=1e-6)
        assert list(np.flatnonzero(found["is_in_cart"])) == sorted(set(types))


def test_items_that_have_left_are_recommended_to_nobody(checkout, tmp_path):
    shop = copy_shop(checkout, tmp_path / "left")
    gone = [item for (item,) in shop.query("select item_id from checkout_recommendations group by 1 order by 1")][:50]
    shop.change(f"update checkout_catalogue set is_available = item_id not in {tuple(gone)}")
    shop.build(only="checkout_impressions checkout_recommendations cart_complements item_substitutes", **MONTHS)
    served = set(shop.frame("checkout_recommendations")["item_id"])
    for mart in ("cart_complements", "item_substitutes"):
        served |= set(shop.frame(mart)["other_item_id"])
    assert len(gone) == 50 and len(served) > 100 and not served & set(gone)
    recommender = Recommender.load(shop.warehouse)
    assert not {item.item_id for item in recommender.recommend([gone[0]])} & set(gone)


@pytest.mark.slow
def test_features_of_a_month_are_independent_of_its_actions(checkout, tmp_path):
    """Other purchases in the last evaluated month change its relevant items, and no features."""
    changed = copy_shop(checkout, tmp_path / "changed")
    changed.change(
        """update stg_action_rows set item_id = (select max(item_id) from stg_items)
        where month = '2017-02-01' and action = 'purchase'"""
    )
    changed.build(
        only="path:models/checkout/queries path:models/checkout/candidates path:models/checkout/ranking", **MONTHS
    )
    until = "month <= '2017-02-01'"
    queried = "(select month, query_key from checkout_queries where kind = 'user')"
    of_all = f"{until} and (month, user_id) in {queried}"
    assert_same(checkout, changed, ["checkout_habits"], of_all)
    assert_same(checkout, changed, ["checkout_users", "checkout_items", "checkout_pairs"], until)
    assert_same(checkout, changed, ["checkout_product_types", "checkout_type_neighbours"], until)
    assert_same(checkout, changed, ["checkout_browsing"], of_all)
    assert_same(checkout, changed, ["checkout_neighbours", "checkout_coefficients"], until)
    assert_same(
        checkout, changed, ["checkout_examples"], f"{until} and kind = 'user'", ignore=("is_relevant", "query_id")
    )
    assert not checkout.frame("checkout_labels").equals(changed.frame("checkout_labels"))


@pytest.mark.slow
def test_months_that_stay_are_those_of_a_run_that_builds_all(evaluated, checkout, tmp_path):
    """After a new month, a correction and another catalogue; a new month leaves evaluated months as they are."""
    changing, elsewhere = copy_shop(evaluated, tmp_path / "changing"), tmp_path / "month=2017-02"
    (changing.source / "actions" / elsewhere.name).rename(elsewhere)
    changing.warehouse.unlink()
    changing.published.unlink()  # a link; stages of earlier months replace none of later ones
    changing.build(checked=True, **MONTHS)
    before = changing.run_of_months("checkout_training_examples")
    whole = copy_shop(changing, tmp_path / "whole")

    def new_month(shop):
        shutil.copytree(elsewhere, shop.source / "actions" / elsewhere.name)

    names = {name for name in checkout.tables() if name.startswith("checkout")} - {"checkout_champions"}
    for delivery in (new_month, corrected, other_titles):
        for shop in (changing, whole):
            delivery(shop)
        whole.change()
        for shop in (changing, whole):
            shop.build(checked=True, **MONTHS)
        filled = {name for name in names if whole.query(f"select 1 from {name} limit 1")}
        assert {"checkout_training_examples", "checkout_rankings", "checkout_coefficients"} < filled
        assert_same(changing, whole, sorted(filled))
        assert not any(changing.query(f"select 1 from {name} limit 1") for name in names - filled)
        if delivery is new_month:
            months = changing.run_of_months("checkout_training_examples")
            assert [month for month in months if before.get(month) != months[month]] == ["2017-02"]


def corrected(shop):
    """A third of the actions of a month are gone."""
    file = next(shop.source.glob("actions/month=2016-11/*.parquet"))
    duckdb.sql(f"copy (from '{file}' where action_id % 3 <> 0) to '{file}.new' (format parquet)")
    Path(f"{file}.new").replace(file)


def other_titles(shop):
    """The titles of the items are exchanged."""
    rows = pd.read_parquet(shop.source / "items.parquet")
    rows.assign(title=rows["title"].iloc[::-1].to_numpy()).to_parquet(shop.source / "items.parquet")


def figures(ranked, right, n_items, n_context_items):
    """recall, average precision, NDCG of the first ten, and AUC over the catalogue of one query, in loops."""
    hits = [item in right for item in ranked[:10]]
    precisions = [sum(hits[: rank + 1]) / (rank + 1) for rank, hit in enumerate(hits) if hit]
    gains = sum(1 / np.log2(rank + 2) for rank, hit in enumerate(hits) if hit)
    best = sum(1 / np.log2(rank + 2) for rank in range(min(10, len(right))))
    n_wrong, ranks = n_items - n_context_items - len(right), {item: rank for rank, item in enumerate(ranked)}
    wrong_ranks = [rank for item, rank in ranks.items() if item not in right]
    in_order = 0.0
    for item in right:
        before = sum(rank < ranks[item] for rank in wrong_ranks) if item in ranks else len(wrong_ranks)
        tied = 0 if item in ranks else n_wrong - len(wrong_ranks)
        in_order += 1 - (before + tied / 2) / n_wrong
    at_most = min(10, len(right))
    return sum(hits) / len(right), sum(precisions) / at_most, gains / best, in_order / len(right)


def test_metrics_of_a_query_equal_those_of_plain_loops(checkout, tables):
    relevant_items = checkout.frame("checkout_relevant_items").groupby("query_id")["item_no"].apply(set)
    given = tables["query_items"].query("context == 'cart'").groupby("query_id").size()
    examples = dict(list(tables["examples"].groupby("query_id")))
    evaluated = tables["query_scores"].query("model == 'popular' and has_relevant_items == 1")
    for query in evaluated.itertuples():
        offered = (
            examples[query.query_id].query("popular > 0").sort_values(["popular", "item_no"], ascending=[False, True])
        )
        wanted = figures(
            list(offered["item_no"]),
            relevant_items[query.query_id],
            len(tables["catalogue"]),
            given.get(query.query_id, 0),
        )
        found = query.recall_at_10, query.precision_at_10, query.ndcg_at_10, query.auc
        np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_a_ranking_is_that_of_the_models_own_columns(tables):
    columns = [name for name in tables["coefficients"] if name.startswith("w_")]
    model = tables["coefficients"].query("model == 'hybrid' and kind == 'cart'").set_index("month")
    examples = in_evaluated_months(tables, "examples").query("kind == 'cart'")
    weights = model.loc[examples["month"], columns].to_numpy()
    values = examples[[name.removeprefix("w_") for name in columns]].to_numpy()
    odds = model.loc[examples["month"], "intercept"].to_numpy() + (weights * values).sum(axis=1)
    wanted = examples.assign(probability=1 / (1 + np.exp(-odds))).set_index(["query_id", "item_no"])["probability"]
    found = tables["rankings"].query("model == 'hybrid'").set_index(["query_id", "item_no"])
    found = found[found.index.get_level_values(0).isin(examples["query_id"])]
    np.testing.assert_allclose(found["probability"], wanted.loc[found.index], rtol=0, atol=1e-6)
    first = found[found["rank"] == 1]["probability"].droplevel(1)
    np.testing.assert_allclose(first, wanted.groupby("query_id").max().loc[first.index], rtol=0, atol=1e-6)


def test_gp_topfreq_ranks_by_the_shoppers_baskets_with_the_item_and_then_by_popularity(tables):
    ranked = tables["rankings"].query("model == 'gp_topfreq' and rank <= 18").sort_values(["query_id", "rank"])
    retrieved = in_evaluated_months(tables, "candidates").query("generator in ('habit', 'popular')")
    retrieved = retrieved.drop_duplicates(["query_id", "item_no"])
    own = tables["query_habits"][["query_id", "item_no", "n_baskets"]]
    shares = tables["items"][["month", "item_no", "share"]]

    def facts(rows):
        known = rows[["month", "query_id", "item_no"]].merge(own, "left", ["query_id", "item_no"]).fillna(0)
        return known.merge(shares, "left", ["month", "item_no"])[["query_id", "n_baskets", "share"]]

    wanted = facts(retrieved).sort_values(["query_id", "n_baskets", "share"], ascending=[True, False, False])
    wanted = wanted.groupby("query_id").head(18).reset_index(drop=True)
    pd.testing.assert_frame_equal(facts(ranked), wanted)
    first = wanted.groupby("query_id")["n_baskets"]
    assert first.max().nunique() > 2 and (first.min() == 0).any()


def test_rankers_are_trained_on_the_relevant_and_a_tenth_of_the_other_examples(tables):
    keys, ids = ["query_id", "item_no"], tables["catalogue"].set_index("item_no")["item_id"]
    examples = tables["examples"].drop(columns="is_next_need").sort_values(keys, ignore_index=True)
    texts = [f"{query} {ids[item]}" for query, item in examples[keys].to_numpy()]  # not the numbers of the items
    shares = np.array([int(md5(text.encode()).hexdigest()[:8], 16) / 2**32 for text in texts])
    wanted = examples[(examples["is_relevant"] == 1) | (shares < 1 / ONE_IN)].reset_index(drop=True)
    found = tables["training_examples"].sort_values(keys, ignore_index=True)
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False, check_exact=False, rtol=1e-6, atol=1e-9)
    assert set(found["is_relevant"]) == {0, 1} and len(found) < 0.2 * len(tables["examples"])


@pytest.mark.parametrize("view", ["checkout_candidates", "checkout_examples", "checkout_neighbours"])
def test_a_view_has_a_key(tables, view):
    rows = tables[view.removeprefix("checkout_")]
    assert len(rows) > 0 and not rows.duplicated(READ_ON_DEMAND[view].split(", ")).any()


def test_context_items_are_not_recommended(tables):
    cart = tables["query_items"].query("context == 'cart'")
    assert len(cart) > 0
    assert cart.merge(tables["candidates"], on=["query_id", "item_no"]).empty


def test_stages_are_those_of_the_month_before(checkout, tables):
    published = checkout.frame("user_stage_months")
    share = published.groupby(["user_id", "month"])["p_toddler"].mean()
    users = tables["users"].query("stage != 'unknown'")
    before = users["month"] - pd.DateOffset(months=1)
    np.testing.assert_allclose(
        users["p_toddler"], share.loc[list(zip(users["user_id"], before, strict=True))], rtol=0, atol=1e-8
    )


@pytest.mark.slow
@pytest.mark.fault("Training", "champion by few queries or users", "the champion of the month before, else the hybrid")
def test_the_champion_stays_until_a_model_is_significantly_better_on_enough_queries(checkout, tmp_path):
    shop = copy_shop(checkout, tmp_path / "champion")
    where = "period = 'all' and segment = 'all' and metric = 'recall_at_10' and kind = 'cart'"
    shop.change(f"update checkout_leaderboard set value = case model when 'habit' then 0.9 else 0.1 end where {where}")

    def chosen(*better: str, than: str, n_queries: int = 200, n_users: int = 100, gain: float = 0.1) -> str:
        """The champion, if only these models are significantly better than one."""
        is_better = f"model in {(*better, '')} and other_model = '{than}'"
        shop.change(
            f"update checkout_leaderboard set n_queries = {n_queries}, n_users = {n_users} where {where}",
            f"update checkout_comparisons set lowest = case when {is_better} then {gain} else -0.01 end where {where}",
        )
        shop.build(only="checkout_champions", **MONTHS)
        return champions(shop)["cart"]

    shop.change("delete from checkout_champions")
    assert chosen(than="hybrid") == ("hybrid", "habit", 0.1, 0.9)
    for too_little in ({"n_queries": 199}, {"n_users": 99}, {"gain": 0.00099}):
        assert chosen("habit", than="hybrid", **too_little) == ("hybrid", "habit", 0.1, 0.9), too_little
    assert chosen("habit", "linear", than="hybrid") == ("habit", "habit", 0.9, 0.9)
    for incumbent, stays in (("linear", True), ("popular", False)):
        shop.change(f"update checkout_champions set month = '2017-02-01', model = '{incumbent}'")
        assert chosen(than=incumbent)[0] == (incumbent if stays else "hybrid")
        assert chosen("habit", than=incumbent if stays else "hybrid")[0] == "habit"
        assert len(shop.query("from checkout_champions where kind = 'cart'")) == 2
        shop.change("delete from checkout_champions where month > '2017-02-01'")


@pytest.mark.slow
def test_without_a_query_that_has_relevant_items_the_hybrid_serves(checkout, tmp_path):
    shop = copy_shop(checkout, tmp_path / "default")
    shop.change(
        "delete from checkout_champions", "delete from checkout_leaderboard", "delete from checkout_comparisons"
    )
    shop.build(only="checkout_champions", **MONTHS)
    assert {kind: facts[0] for kind, facts in champions(shop).items()} == {"cart": "hybrid", "user": "hybrid"}
    assert Recommender.load(shop.warehouse).recommend([], "nobody")


def champions(shop):
    """The champion and the best model by kind, with the recall of both."""
    figures = "model, best_model, recall_at_10, best_recall_at_10"
    rows = shop.query(f"select kind, {figures} from checkout_champions where month = '2017-03-01'")
    return {kind: tuple(facts) for kind, *facts in rows}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("floor", "n_users", "wanted"),
    [(0.5, 100, "hybrid"), (0.7, 100, "habit"), (0.9, 100, "popular"), (0.9, 99, "hybrid")],
)
def test_a_model_below_the_stage_floor_is_champion_only_if_no_model_is_better(
    checkout, tmp_path, floor, n_users, wanted
):
    """Of 0.9, 0.5 and 0.3 of recall the worst stage gets 0.6, 0.75 and 0.8; no model reaches 0.9.

    With too few users the incumbent stays.
    """
    shop = copy_shop(checkout, tmp_path / "floor")
    ((worst,),) = shop.query("select min(segment) from checkout_leaderboard where segment like 'stage=%'")
    best, lowest = {"hybrid": 0.9, "habit": 0.5, "popular": 0.3}, {"hybrid": 0.6, "habit": 0.75, "popular": 0.8}
    for model in set(shop.frame("checkout_leaderboard")["model"]):
        value, ratio = best.get(model, 0.0), lowest.get(model, 0.0)
        of_model = f"model = '{model}' and kind = 'cart' and period = 'all' and metric = 'recall_at_10'"
        shop.change(
            f"update checkout_leaderboard set value = {value}, n_queries = 200, n_users = {n_users}"
            f" where segment = 'all' and {of_model}",
            f"update checkout_leaderboard set value = 0.5, n_users = 100 where segment like 'stage=%' and {of_model}",
            f"update checkout_leaderboard set value = {0.5 * ratio} where segment = '{worst}' and {of_model}",
        )
    shop.change("update checkout_comparisons set lowest = case model when 'hybrid' then 0.1 else -0.1 end")
    shop.build(only="checkout_champions", checkout_stage_floor=floor, **MONTHS)
    assert champions(shop)["cart"] == (wanted, "hybrid", best[wanted], 0.9)


@pytest.mark.slow
def test_the_settings_tried_are_the_grid_and_the_warehouse_stays_as_it_was(checkout):
    before = checkout.warehouse.read_bytes()
    tried = dict(search(checkout.warehouse))
    assert list(tried) == [RankerSettings(penalty, n) for penalty in PENALTIES for n in COUNTED]
    assert all(0 < figure < 1 for figure in tried.values()) and len(set(tried.values())) > 1
    assert checkout.warehouse.read_bytes() == before


@pytest.mark.slow
def test_values_of_a_var_are_tried_in_copies_of_the_warehouse(checkout, monkeypatch):
    before = checkout.warehouse.read_bytes()
    monkeypatch.setenv("LIFE_STAGE_SOURCE", str(checkout.source))
    monkeypatch.chdir(checkout.folder)
    others = [f"{name}={value}" for name, value in (SMALL | MONTHS).items()]
    tried = dict(values_of("checkout_half_life_days", ["2", "60"], checkout.warehouse, others))
    assert list(tried) == ["2", "60"] and tried["2"] != tried["60"]
    assert tried["60"] == dict(search(checkout.warehouse))[SETTING], "60 is the default"
    assert checkout.warehouse.read_bytes() == before
    with pytest.raises(ValueError, match="LS-LOG-004 checkout_half_life_days=none cannot be built"):
        next(values_of("checkout_half_life_days", ["none"], checkout.warehouse, others))


@pytest.mark.slow
def test_a_network_is_evaluated_with_the_others_and_is_no_champion(checkout, tmp_path):
    pytest.importorskip("optax", reason="needs the extra deep")
    shop = copy_shop(checkout, tmp_path / "deep")
    shop.build(checked=True, only="checkout_deep_scores checkout_candidates+", checkout_deep=True, **MONTHS)
    board = shop.frame("checkout_leaderboard").query("model == 'deep' and metric == 'recall_at_10' and period == 'all'")
    assert set(board["kind"]) == {"cart", "user"} and (board["value"] > 0).any()
    trained = shop.frame("checkout_coefficients").set_index("model")
    assert (trained.loc["deep", "w_deep"] != 0).all() and (trained.drop("deep")["w_deep"] == 0).all()
    shop.change("update checkout_leaderboard set value = 1.5 where model = 'deep'")
    shop.build(only="checkout_champions", checkout_deep=True, **MONTHS)
    assert "deep" not in set(shop.frame("checkout_champions")["best_model"])
    assert Recommender.load(shop.warehouse).recommend([], "nobody")


def test_a_reversed_difference_changes_only_its_sign(tables):
    pairs = tables["comparisons"].set_index(["kind", "period", "segment", "metric", "model", "other_model"])
    turned = pairs.swaplevel("model", "other_model")
    turned.index.names = pairs.index.names
    turned = turned.loc[pairs.index]
    np.testing.assert_allclose(pairs["difference"], -turned["difference"], atol=1e-12)
    np.testing.assert_allclose(pairs["lowest"], -turned["highest"], atol=1e-9)


def test_every_known_shopper_is_recommended_ten_items_for_the_month_to_come(checkout, tables):
    marts = checkout.frame("checkout_recommendations")
    assert (marts["month"] == "2017-03-01").all()
    assert set(marts["user_id"]) == set(tables["users"].loc[tables["users"]["month"] == "2017-03-01", "user_id"])
    by_user = marts.sort_values("rank").groupby("user_id")
    assert (by_user["purchase_probability"].diff().dropna() <= 0).all()
    assert (by_user["rank"].max() == by_user.size()).all() and (by_user.size() == 10).mean() > 0.9


def test_the_marts_are_published_only_where_a_checkout_is_made(checkout, base):
    for name in ("checkout_recommendations", "cart_complements"):
        rows = duckdb.sql(f"from '{checkout.published}/{name}.parquet'").fetchall()
        assert sorted(rows) == sorted(checkout.query(f"from {name}")) != []
        assert base.query(f"from {name}") == [] and not (base.published / f"{name}.parquet").exists()
    segments = f"select distinct segment from '{checkout.published}/checkout_leaderboard.parquet'"
    assert duckdb.sql(segments).fetchall() == [("all",)]  # the others are of few users


def test_complements_are_of_other_categories_and_substitutes_of_the_same(checkout):
    leaf = checkout.frame("stg_items").set_index("item_id")["leaf_category"]
    for mart, is_same in (("cart_complements", False), ("item_substitutes", True)):
        rows = checkout.frame(mart)
        leaves = leaf[rows["item_id"]].to_numpy(), leaf[rows["other_item_id"]].to_numpy()
        assert ((leaves[0] == leaves[1]) == is_same).all() and len(rows) > 1_000
        assert list(rows.groupby("item_id")["rank"].max()) == list(rows.groupby("item_id").size())
    together = checkout.frame("cart_complements", "reason = 'together'").assign(
        leaf=lambda r: leaf[r["other_item_id"]].array
    )
    assert not together.duplicated(["item_id", "leaf"]).any()


@pytest.mark.slow
def test_only_pairs_of_types_with_enough_users_are_published(checkout, tables, tmp_path):
    shop = copy_shop(checkout, tmp_path / "few")
    shop.build(only="path:models/checkout/marts/cart_complements.sql", **MONTHS, marts_min_cell_users=60)
    visits = tables["visits"][["month", "visit_no", "user_id", "type_no"]].drop_duplicates()
    both = visits.merge(visits, on=["month", "visit_no", "user_id"])
    n_users = both.groupby(["type_no_x", "type_no_y"])["user_id"].nunique()
    types = tables["catalogue"].set_index("item_id")["type_no"]
    n_published = []
    for found, few in ((checkout, 20), (shop, 60)):
        published = found.frame("cart_complements", "reason = 'together'")
        pairs = set(zip(types[published["item_id"]], types[published["other_item_id"]], strict=True))
        assert all(n_users[pair] >= few for pair in pairs)
        n_published.append(len(pairs))
    assert n_published[0] > n_published[1] > 0


@pytest.mark.parametrize("model", ["hybrid", "gp_topfreq"])
def test_index_recommendations_equal_the_ranking_of_the_warehouse(checkout, tables, model):
    names = tables["catalogue"].set_index("item_no")["item_id"]
    ranked = tables["rankings"].query("model == @model and rank <= 20").sort_values("rank")
    predictions_by_method = {query: rows for query, rows in ranked.groupby("query_id")}
    carts = (
        tables["query_items"].query("context == 'cart'").groupby("query_id")["item_no"].apply(lambda n: list(names[n]))
    )
    evaluated = in_evaluated_months(tables, "queries").query("kind == 'cart'").set_index("query_id")
    bought = tables["lines"].groupby("user_id")[["item_id", "acted_on", "month"]]
    n_bought = 0
    for month, queries in evaluated.groupby("month"):
        recommender = Recommender.load(checkout.warehouse, f"{month:%Y-%m-%d}", model)
        for query in queries.itertuples():
            recent = bought.get_group(query.user_id).query("month == @month")
            recent = [(row.item_id, row.acted_on.date()) for row in recent.itertuples()]
            found = recommender.recommend(carts[query.Index], query.user_id, 20, recent, query.queried_on.date())
            n_bought += any(day < query.queried_on.date() for _, day in recent)
            assert [item.item_id for item in found] == list(names[predictions_by_method[query.Index]["item_no"]])
            np.testing.assert_allclose(
                [item.probability for item in found],
                predictions_by_method[query.Index]["probability"],
                rtol=0,
                atol=1e-6,
            )
    assert len(evaluated) > 50 and n_bought > 10


def test_recommendations_for_an_empty_cart_equal_the_ranking_of_the_warehouse(checkout, tables):
    ranked = (
        tables["rankings"]
        .query("rank <= 20")
        .merge(tables["queries"].query("kind == 'user'"), on=["month", "query_id"])
    )
    n_compared = 0
    with duckdb.connect(checkout.warehouse, read_only=True) as connection:
        for (month, model), rows in ranked.groupby(["month", "model"]):
            recommender = Recommender(CheckoutIndex(connection.table, f"{month:%Y-%m-%d}", "user", model))
            for user, prediction in rows.sort_values("rank").groupby("user_id"):
                best = recommender.ranked(empty_carts.NO_CART, recommender.index.shoppers.named(user))
                assert list(best.item + 1) == list(prediction["item_no"])
                np.testing.assert_allclose(1 / (1 + np.exp(-best.odds)), prediction["probability"], rtol=0, atol=1e-6)
                n_compared += len(best.item) > 0
    assert n_compared > 500


@pytest.mark.slow
def test_recommendations_are_independent_of_the_batch_size(checkout, tables, monkeypatch):
    """Also for the hybrid, whatever the champion; every reason is a generator that returned the item."""
    champions = "select date '2017-03-01' as month, 'user' as kind, '{}' as model"
    ((champion,),) = checkout.query("select model from checkout_champions where kind = 'user'")
    users = set(tables["users"].loc[tables["users"]["month"] == "2017-03-01", "user_id"])
    with duckdb.connect(checkout.warehouse, read_only=True) as connection:
        relations = {f"checkout_{name}": connection.table(f"checkout_{name}") for name in tables}
        relations["checkout_champions"] = connection.sql(champions.format("hybrid"))
        whole = empty_carts.impressions(relations).read_all()
        monkeypatch.setattr(empty_carts, "USERS_PER_BATCH", 7)
        assert empty_carts.impressions(relations).read_all().equals(whole)
        relations["checkout_champions"] = connection.sql(champions.format(champion))
        of_champion = empty_carts.impressions(relations).read_all().to_pandas()
        recommender = Recommender(CheckoutIndex(connection.table, "2017-03-01", "user", "hybrid"))
    assert set(of_champion["user_id"]) == users
    stored = tables["impressions"].assign(month=tables["impressions"]["month"].dt.date)
    frames = (frame.sort_values(["user_id", "rank"], ignore_index=True) for frame in (of_champion, stored))
    pd.testing.assert_frame_equal(*frames, check_dtype=False)
    reasons = set()
    for user, prediction in whole.to_pandas().groupby("user_id"):
        shopper = recommender.index.shoppers.named(user)
        best = recommender.ranked(empty_carts.NO_CART, shopper)
        assert list(best.item[:10] + 1) == list(prediction["item_no"])
        np.testing.assert_allclose(1 / (1 + np.exp(-best.odds[:10])), prediction["probability"])
        habits = recommender.habits(shopper, [], 0)
        shares = recommender.type_shares(empty_carts.NO_CART, shopper)
        generators = recommender.generators(empty_carts.NO_CART, shopper, habits, shares)
        for item_no, reason in zip(prediction["item_no"], prediction["reason"], strict=True):
            assert item_no - 1 in generators[reason].item
        reasons |= set(prediction["reason"])
    assert {"habit", "type_history", "type_need"} < reasons


def test_a_model_with_an_unknown_generator_is_an_error(checkout, tmp_path):
    shop = copy_shop(checkout, tmp_path / "unknown")
    shop.change("alter table checkout_coefficients add column w_gifts double default 0.5")
    with pytest.raises(ValueError, match="LS-CHK-001 the model uses gifts,"):
        Recommender.load(shop.warehouse)
    shop.change("delete from checkout_champions")
    with pytest.raises(ValueError, match="LS-CHK-002 there is no champion for carts of 2017-03-01"):
        Recommender.load(shop.warehouse)
    with pytest.raises(ValueError, match="LS-CHK-002 there is no model deep for carts of 2017-03-01"):
        Recommender.load(shop.warehouse, model="deep")


def test_recommendations_for_an_empty_cart_equal_the_marts(checkout, tables):
    """By the weights for empty carts, which differ from those for carts."""
    recommender, names = Recommender.load(checkout.warehouse), tables["catalogue"].set_index("item_no")["item_id"]
    assert (recommender.index.weights["kind"], recommender.for_empty.index.weights["kind"]) == ("cart", "user")
    for user, prediction in tables["impressions"].sort_values("rank").groupby("user_id"):
        found = recommender.recommend([], user)
        assert [item.item_id for item in found] == list(names[prediction["item_no"]])
        np.testing.assert_allclose([item.probability for item in found], prediction["probability"])


def test_an_invalid_request_is_an_error_and_known_items_count_once(checkout, tables):
    recommender = Recommender.load(checkout.warehouse)
    item = tables["catalogue"]["item_id"][0]
    for request in ({"cart": item}, {"cart": [item], "n": -1}, {"cart": [item], "on": date(2017, 2, 27)}):
        with pytest.raises(ValueError, match="LS-CHK-003"):
            recommender.recommend(**request)
    lines = tables["lines"][pd.to_datetime(tables["lines"]["month"]) == "2017-02-01"]
    user, on = lines["user_id"].mode()[0], date(2017, 3, 8)
    bought = lines.loc[lines["user_id"] == user, "item_id"]

    def prediction(day: date) -> list:
        return recommender.recommend([], user, 1000, bought=[(item, day) for item in bought], on=on)

    recommender = Recommender.load(checkout.warehouse, model="hybrid")
    assert recommender.for_empty.index.weights["kind"] == "user"
    assert (
        prediction(date(2017, 2, 20))
        == prediction(on)
        == recommender.recommend([], user, 1000, on=on)
        != prediction(date(2017, 3, 2))
    )


def test_cold_start_users_with_an_unknown_cart_get_popular_items(checkout, tables):
    found = Recommender.load(checkout.warehouse).recommend(["no such item"], "nobody")
    items = tables["items"].loc[tables["items"]["month"] == "2017-03-01"].sort_values("share").tail(50)
    names = tables["catalogue"].set_index("item_no")["item_id"]
    assert len(found) == 10
    assert {item.item_id for item in found if item.reason == "popular"} <= set(names[items["item_no"]])
    assert {item.reason for item in found} <= {"popular", "type_cart", "type_need"}  # bought or seen most


def test_drift_is_the_stability_index_with_errors_only_where_users_change(checkout, tmp_path):
    """In February half of the users have a predicted toddler, and all users come three times as often."""
    shop = copy_shop(checkout, tmp_path / "drift")
    again = "insert into checkout_lines select * replace (basket_id || '{} again' as basket_id) from checkout_lines"
    shop.change(
        "update checkout_users set stage = 'toddler' where month = '2017-03-01' and hash(user_id) % 2 = 0",
        *(f"{again.format(n)} where month = '2017-02-01' and basket_id not like '%again'" for n in (1, 2)),
    )
    shop.build(only="checkout_drift", **MONTHS)
    found = shop.frame("checkout_drift").set_index(["month", "feature"])
    users = shop.frame("checkout_users")
    baskets = shop.frame("checkout_lines").groupby(["month", "user_id"])["basket_id"].nunique().reset_index()
    often = pd.cut(baskets["basket_id"], [0, 1, 3, np.inf])
    bands = {
        "stage": pd.crosstab(users["stage"], users["month"]),
        "frequency": pd.crosstab(often, baskets["month"] + pd.DateOffset(months=1)),
    }
    for feature, counts in bands.items():
        shares = (counts + 0.5) / (counts + 0.5).sum()
        for month in found.xs(feature, level="feature").index:
            now, before = shares[month], shares[month - pd.DateOffset(months=1)]
            wanted = ((now - before) * np.log(now / before)).sum()
            assert found.loc[(month, feature), "stability_index"] == pytest.approx(wanted, abs=1e-9)
    changed = [(pd.Timestamp("2017-03-01"), feature) for feature in ("frequency", "stage", "units")]
    assert set(found.loc[changed, "level"]) == {"error"}
    assert set(found["level"].drop(index=changed)) == {"ok"} and len(found) == 4 * 4


def test_the_gap_is_between_the_worst_and_the_best_group(checkout, tables):
    board = tables["leaderboard"].query("period == 'all' and segment != 'all' and n_users >= 20")
    groups = board.assign(grouped_by=board["segment"].str.partition("=")[0])
    by_group = groups.groupby(["kind", "metric", "model", "grouped_by"])["value"]
    found = checkout.frame("checkout_fairness_gaps").set_index(["kind", "metric", "model", "grouped_by"])
    assert len(found) == by_group.ngroups > 0
    np.testing.assert_allclose(found["gap"], (by_group.max() - by_group.min()).loc[found.index])
    lowest = groups.set_index(["kind", "metric", "model", "segment"])["value"]
    for key, row in found.iterrows():
        assert lowest[(*key[:3], f"{key[3]}={row['lowest_group']}")] == row["lowest_value"]


def test_calibration_compares_probabilities_with_relevant_items_by_band_of_the_first_ten(checkout, tables):
    served = tables["rankings"].query("rank <= 10").merge(tables["queries"], on=["month", "query_id"])
    limits, names = [0, 0.03, 0.1, 0.3, 1.1], ["0 to 0.03", "0.03 to 0.1", "0.1 to 0.3", "0.3 to 1"]
    served["band"] = pd.cut(served["probability"], limits, right=False, labels=names).astype(str)
    found = tables["calibration"].set_index(["kind", "model", "probability_band"])
    groups = served.groupby(["kind", "model", "band"])
    assert len(found) == groups.ngroups and set(served["band"]) == set(names)
    for key, rows in groups:
        row, share = found.loc[key], rows["is_relevant"].mean()
        wanted = len(rows), rows["user_id"].nunique(), rows["probability"].mean(), share
        np.testing.assert_allclose(row[["n_items", "n_users", "mean_probability", "relevant_share"]], wanted, atol=1e-8)
        assert row["ratio"] == pytest.approx(wanted[2] / share) if share else pd.isna(row["ratio"])
        limits_of_share = limits_of_users(rows.assign(is_right=rows["is_relevant"]))
        of_row = row[["lowest_relevant_share", "highest_relevant_share"]].astype(float)
        np.testing.assert_allclose(of_row, limits_of_share, atol=1e-8)
    published = duckdb.sql(f"from '{checkout.published}/checkout_calibration.parquet'").df()
    assert len(published) == (found["n_users"] >= 20).sum() > 0 and published["n_users"].min() >= 20
    assert len(published) < len(found)


def test_monitored_quality_joins_impressions_with_purchases_and_the_leaderboard(checkout, tables, tmp_path):
    shop = copy_shop(checkout, tmp_path / "quality")
    shop.build(only="monitor_quality", evaluated=True, **MONTHS)
    found = shop.frame("monitor_quality", "subject <> 'life_stage'").set_index(["subject", "model", "month"])
    queries = tables["queries"][["query_id", "month", "kind"]]
    served = tables["rankings"].query("rank <= 10").merge(queries, on=["month", "query_id"])
    served["bin"] = np.minimum(served["probability"] * 15 // 1, 14)
    for (kind, model, month), rows in served.groupby(["kind", "model", "month"]):
        row = found.loc[(f"checkout_{kind}", model, month)]
        gaps = (rows["is_relevant"] - rows["probability"]).groupby(rows["bin"]).sum().abs().sum() / len(rows)
        wanted = rows["is_relevant"].mean(), rows["probability"].mean(), gaps
        np.testing.assert_allclose(row[["accuracy", "mean_probability", "calibration_error"]], wanted, atol=1e-8)
        assert row["n_predictions"] == len(rows)
    board = tables["leaderboard"].query("segment == 'all' and period != 'all' and metric == 'ndcg_at_10'")
    keys = zip("checkout_" + board["kind"], board["model"], pd.to_datetime(board["period"]), strict=True)
    facts = found.loc[list(keys), "relevance"]
    assert len(facts) > 20
    np.testing.assert_allclose(facts, board["value"], atol=1e-8)
    n_queries = queries.groupby(["kind", "month"]).size()
    assert all(
        row["n_cases"] == n_queries[subject.removeprefix("checkout_"), month]
        for (subject, _, month), row in found.iterrows()
    )


@pytest.mark.slow
def test_an_erased_user_leaves_no_row_under_a_query_id(checkout, tmp_path):
    shop = copy_shop(checkout, tmp_path / "erased")
    ((user,),) = shop.query("select user_id from checkout_queries group by user_id order by count(*) desc, 1 limit 1")
    numbered = [n for (n,) in shop.query("select table_name from duckdb_columns() where column_name = 'query_id'")]
    numbers = [n for (n,) in shop.query(f"select query_id from checkout_queries where user_id = '{user}'")]
    theirs = f"query_id in ({', '.join(map(str, numbers))})"
    before = {name: shop.query(f"select count(*) from {name} where {theirs}")[0][0] for name in numbered}
    assert before["checkout_training_examples"] > 0 and before["checkout_rankings"] > 0
    assert shop.operate("erase", user).exit_code == 0
    assert {shop.query(f"select count(*) from {name} where {theirs}")[0][0] for name in numbered} == {0}


def test_the_request_log_records_every_response_and_changes_none(checkout, tmp_path):
    log = RequestLog(tmp_path / "requests")
    carts = [["1000005"], ["no such item"]]
    plain, logged = Recommender.load(checkout.warehouse), Recommender.load(checkout.warehouse, log=log)
    assert [logged.recommend(cart, n=7) for cart in carts] == [plain.recommend(cart, n=7) for cart in carts]
    log.flush()
    rows = pd.read_parquet(tmp_path / "requests")
    champions = dict(checkout.query("select kind, model from checkout_champions where month = '2017-03-01'"))
    assert list(rows["model"]) == [champions["cart"], champions["user"]] and list(rows["n_shown"]) == [7, 7]
    assert (rows["n_candidates"] >= 7).all() and (rows["milliseconds"] > 0).all()


def test_a_load_test_sends_the_evaluation_carts_in_turn_and_logs_every_request(checkout, tables, tmp_path, base):
    n_carts = len(in_evaluated_months(tables, "queries").query("kind == 'cart'"))
    with RequestLog(tmp_path / "requests") as log:
        taken = load_test(checkout.warehouse, n_carts + 5, log)
    rows = pd.read_parquet(tmp_path / "requests")
    assert len(taken) == len(rows) == n_carts + 5
    assert list(rows["n_candidates"])[:5] == list(rows["n_candidates"])[n_carts:]
    with pytest.raises(ValueError, match="LS-LOG-002"):
        load_test(base.warehouse, 1)


@pytest.fixture(scope="module")
def predictions_by_method(tables):
    """Metrics of every model and evaluation query, one row each."""
    facts = ["n_shown", "excess_probability", "has_relevant_items", "recall_at_10", "stage", "activity", "tenure"]
    return tables["query_scores"][["kind", "model", "query_id", "user_id", *facts]]


def test_a_group_counts_queries_with_relevant_items_or_impressions(tables, predictions_by_method):
    board = tables["leaderboard"].query("period == 'all'")
    found = board.set_index(["kind", "model", "metric", "segment"])[["n_queries", "n_users"]].sort_index()
    for metric, of in (("recall_at_10", "has_relevant_items"), ("calibration_gap", "n_shown")):
        counted = predictions_by_method[predictions_by_method[of] > 0]
        for grouped_by in ("stage", "activity", "tenure"):
            for (kind, model, group), rows in counted.groupby(["kind", "model", grouped_by]):
                row = found.loc[kind, model, metric, f"{grouped_by}={group}"]
                assert tuple(row) == (len(rows), rows["user_id"].nunique())
        assert len(counted) < len(predictions_by_method)


def test_exposure_and_calibration_of_a_group_are_those_of_its_impressions(tables, predictions_by_method):
    served = tables["rankings"].query("rank <= 10")
    served = served.assign(excess=served["probability"] - served["is_relevant"]).groupby(["model", "query_id"])[
        "excess"
    ]
    served = predictions_by_method[["kind", "model", "query_id", "tenure"]].merge(
        served.agg(["size", "sum"]).reset_index(), how="left", on=["model", "query_id"]
    )
    board = (
        tables["leaderboard"]
        .query("period == 'all'")
        .set_index(["kind", "model", "metric", "segment"])["value"]
        .sort_index()
    )
    for (kind, model, tenure), rows in served.fillna(0).groupby(["kind", "model", "tenure"]):
        found = board.loc[(kind, model)].xs(f"tenure={tenure}", level="segment")
        assert found["exposure"] == pytest.approx(rows["size"].mean() / 10)
        if rows["size"].sum():
            assert found["calibration_gap"] == pytest.approx(rows["sum"].sum() / rows["size"].sum(), abs=1e-9)
    assert set(served["tenure"]) == {"new", "below 180 days", "180 days or more"}


def test_tenure_starts_with_the_first_basket_of_the_checkout(tables):
    lines = tables["lines"].assign(acted_on=lambda rows: pd.to_datetime(rows["acted_on"]))
    queries = tables["query_scores"].query("model == 'popular'")
    for month, rows in queries.groupby("month"):
        first = lines[lines["month"] < month].groupby("user_id")["acted_on"].min()
        days = (month - rows["user_id"].map(first)).dt.days
        wanted = np.select([days.isna(), days < 180], ["new", "below 180 days"], "180 days or more")
        assert list(rows["tenure"]) == list(wanted)


def test_fairness_gaps_are_the_differences_and_ratios_of_fairlearn(checkout, tables, predictions_by_method):
    metrics = pytest.importorskip("fairlearn.metrics", reason="fairlearn is not installed: pip install fairlearn")
    gaps = checkout.frame("checkout_fairness_gaps").set_index(["kind", "model", "grouped_by", "metric"])[
        ["gap", "ratio"]
    ]
    n_compared = 0
    for (kind, model), queries in predictions_by_method.groupby(["kind", "model"]):
        published = queries[queries["has_relevant_items"] == 1]
        figures = {"recall_at_10": published.assign(value=published["recall_at_10"])}
        figures["exposure"] = queries.assign(value=queries["n_shown"] / 10)
        for (metric, rows), grouped_by in product(figures.items(), ("stage", "activity", "tenure")):
            rows = rows[rows.groupby(grouped_by)["query_id"].transform("size") >= 20]
            if rows.empty:
                assert (kind, model, grouped_by, metric) not in gaps.index
                continue
            frame = metrics.MetricFrame(
                metrics=lambda truth, contribution: contribution.mean(),
                y_true=rows["value"],
                y_pred=rows["value"],
                sensitive_features=rows[grouped_by],
            )
            gap, ratio = gaps.loc[(kind, model, grouped_by, metric)]
            assert gap == pytest.approx(frame.difference(method="between_groups"), abs=1e-9)
            if rows["value"].any():
                assert ratio == pytest.approx(frame.ratio(method="between_groups"), abs=1e-9)
            n_compared += 1
    assert n_compared == gaps.index.isin(["recall_at_10", "exposure"], level="metric").sum() > 40
