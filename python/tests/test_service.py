"""Answers from a published set, and the HTTP service that gives them."""

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import astuple
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from project import copy_shop
from test_manifest import SERVED

from life_stage.engine.pseudonyms import pseudonym
from life_stage_checkout.answers import PublishedSet
from life_stage_checkout.request_log import ANSWERS, Log
from life_stage_checkout.serving import Recommender

KEY = b"sixteen bytes or more"


def ask(url: str, body: object = None) -> tuple[int, dict]:
    """Status and JSON of a request: POST with a body, GET without."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@contextmanager
def serving(link: Path, key: bytes = b"", logs: Path | None = None, headers: float = 5.0):
    """(address of a service of the set on a free port of loopback, its Served), in a thread."""
    uvicorn = pytest.importorskip("uvicorn", reason="needs the extra serve")
    from life_stage_checkout import service
    from life_stage_checkout.service import Served, application

    class Protocol(service.Protocol):
        seconds = headers

    served = Served(link, key, logs, seconds=0.05)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application(served), http=Protocol, log_level="warning"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", served
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


def wait_for(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition was never met"
        time.sleep(0.02)


def items(answer: dict) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


@pytest.fixture(scope="module")
def users(checkout):
    """Users that were recommended something."""
    sql = f"select distinct user_id from '{checkout.published}/checkout_recommendations.parquet' order by 1"
    return [user for (user,) in duckdb.sql(sql).fetchall()]


@pytest.fixture(scope="module")
def recommender(checkout):
    return Recommender.load(checkout.warehouse)


def test_a_published_set_answers_as_the_warehouse_does(checkout, users, recommender):
    served = PublishedSet.load(checkout.published)
    catalogue = recommender.index.item_ids
    for number, user in enumerate([*users[:100], "nobody", None]):
        for cart in ([], list(catalogue[number : number + 3])):
            answer = served.answer(cart, user)
            assert answer.items == recommender.recommend(cart, user)
            assert answer.is_known_user == (user in users) and answer.month == "2017-03-01"
            assert answer.model == recommender.used_for(cart).index.weights["model"]
    assert len({served.answer().answer_id for _ in range(50)}) == 50


def test_only_wanted_items_are_recommended_as_if_there_were_no_others(checkout, users, recommender, tmp_path):
    """Of forty items the answers are those of a catalogue in which no other item is left."""
    rng, index = np.random.default_rng(1), recommender.index
    shutil.copytree(checkout.published.resolve(), tmp_path / "set")
    file = tmp_path / "set" / "serving" / "checkout_catalogue.parquet"
    catalogue = pd.read_parquet(file)
    for _ in range(3):
        wanted = list(rng.choice(index.item_ids[index.is_available], 40, replace=False))
        catalogue.assign(is_available=catalogue["item_id"].isin(wanted)).to_parquet(file)
        alone = Recommender.load(tmp_path / "set")
        for user in [*users[:10], None]:
            cart = list(rng.choice(index.item_ids, 2))
            assert recommender.recommend(cart, user, 20, among=wanted) == alone.recommend(cart, user, 20)
            others = set(index.item_ids) - set(wanted)
            assert recommender.recommend([], user, exclude=others) == alone.recommend([], user)
    leaves = pd.Series(index.leaf_categories, index.item_ids)[index.is_available]
    for leaf in leaves.unique()[:20]:
        found = recommender.recommend([], users[0], 10, categories=[leaf])
        assert {leaves[item.item_id] for item in found} == {leaf}
        assert len(found) == min(10, (leaves == leaf).sum()), "items are not missing because others are more popular"
    assert recommender.recommend([], users[0], among=["no such item"]) == []
    for user in users[:200]:
        plain = recommender.recommend([], user, 20)
        assert recommender.recommend([], user, 20, exclude=["no such item"]) == plain


def test_only_items_with_a_known_price_within_the_limits_are_recommended(checkout, users, tmp_path):
    """As if the others were not wanted; every third item has no price."""
    shutil.copytree(checkout.published.resolve(), tmp_path / "set")
    file = tmp_path / "set" / "serving" / "items.parquet"
    items = pd.read_parquet(file)
    assert items["price"].between(10, 250).all()
    items.loc[items.index % 3 == 0, "price"] = np.nan
    items.to_parquet(file)
    some, prices = Recommender.load(tmp_path / "set"), items.set_index("item_id")["price"]
    for low, high in ((30, 60), (None, 60), (30, None), (0, 1e9), (float(prices.median()), float(prices.median()))):
        wanted = list(prices.index[(prices >= (low or 0)) & (prices <= (high or np.inf))])
        for user in [*users[:10], None]:
            cart = wanted[:2]
            found = some.recommend(cart, user, 20, min_price=low, max_price=high)
            assert found == some.recommend(cart, user, 20, among=wanted) and (len(found) > 0 or low == high)
            both = some.recommend(cart, user, 20, exclude=wanted[::2], min_price=low, max_price=high)
            assert both == some.recommend(cart, user, 20, among=wanted[1::2])
            assert all(item.price == prices[item.item_id] for item in found)
    plain = some.recommend([], users[0], 20)
    assert [item.price for item in plain] == [None if np.isnan(p) else p for p in prices[[i.item_id for i in plain]]]
    assert {item.price is None for item in plain} == {True, False}


def test_items_looked_at_in_the_visit_count_as_much_as_those_of_the_newest_month(recommender, users):
    index = recommender.index
    looked_at = index.positions(index.item_ids[:7])
    for user in users[:20]:
        shopper = index.shoppers.named(user)
        types, strength = shopper.browsed
        wanted = dict(zip(types, strength, strict=True))
        for item in looked_at:
            wanted[index.types.of_item[item]] = wanted.get(index.types.of_item[item], 0) + 1
        assert dict(zip(*index.looked_at(shopper, looked_at).browsed, strict=True)) == pytest.approx(wanted)
    assert recommender.recommend([], users[0], visit=list(index.item_ids[:7])) != recommender.recommend([], users[0])
    assert recommender.recommend([], users[0], visit=["no such item"]) == recommender.recommend([], users[0])


def test_a_question_over_http_is_answered_as_by_the_published_set(checkout, users):
    served = PublishedSet.load(checkout.published)
    with serving(checkout.published) as (address, _):
        cart = list(served.recommender.index.item_ids[[3, 8]])
        for question in (
            {},
            {"user": users[0]},
            {"cart": cart, "n": 3},
            {"cart": cart, "user": users[1], "visit": cart, "min_price": 20, "max_price": 60.5},
        ):
            status, answer = ask(f"{address}/recommendations", question)
            wanted = served.answer(**question)
            assert status == 200 and len(answer.pop("answer_id")) == 32
            assert [tuple(item.values()) for item in answer.pop("items")] == list(map(astuple, wanted.items))
            names = ("month", "as_of", "run_id", "model", "is_known_user", "arms")
            assert answer == {name: getattr(wanted, name) for name in names} and answer["as_of"] == "2017-02-28"
        assert ask(f"{address}/readyz")[1]["run_id"] == served.run_id and ask(f"{address}/healthz")[0] == 200
        with urllib.request.urlopen(f"{address}/metrics", timeout=20) as response:
            metrics = response.read().decode()
        assert "life_stage_answer_seconds_count 4.0" in metrics and 'is_known_user="True",model="' in metrics
        with urllib.request.urlopen(f"{address}/docs", timeout=20) as response:
            page = response.read().decode()
        assert "cdn" not in page and 'src="/static-offline-docs/' in page


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"cart": "1000005"}, 422, "cart: Input should be a valid list"),
        ({"basket": []}, 422, "basket: Extra inputs are not permitted"),
        ({"n": 21}, 422, "n: Input should be less than or equal to 20"),
        ({"cart": ["x"] * 201}, 422, "cart: List should have at most 200 items"),
        ({"min_price": -1}, 422, "min_price: Input should be greater than or equal to 0"),
        (b'{"max_price": NaN}', 422, "max_price: Input should be a finite number"),
        ({"min_price": 5, "max_price": 4.9}, 422, "body: Value error, max_price is below min_price"),
        ({"placement": "a b"}, 422, "placement: String should match pattern"),
        (b"{", 422, "JSON decode error"),
        (b'{"user": "' + b"x" * 300_000 + b'"}', 413, "the body has over 262144 bytes"),
    ],
    ids=["type", "name", "many", "long", "negative", "nan", "limits", "word", "json", "large"],
)
def test_a_bad_question_is_refused_with_a_reason(checkout, body, status, detail):
    with serving(checkout.published) as (address, _):
        found = ask(f"{address}/recommendations", body)
        assert found[0] == status and detail in found[1]["detail"]
        assert ask(f"{address}/recommendations", {})[0] == 200


@pytest.mark.fault("Rows", "invalid requests of the service", "LS-CHK-008")
def test_every_refusal_has_a_code(checkout):
    with serving(checkout.published) as (address, _):
        refused = [
            ask(f"{address}/recommendations", body) for body in (b"{", {"n": 0}, b'{"n": 1' + b"0" * 5000 + b"}")
        ]
        refused += [ask(f"{address}/recommendations"), ask(f"{address}/nothing"), ask(f"{address}/healthz", {})]
    assert [status for status, _ in refused] == [422, 422, 400, 405, 404, 405]
    assert all(problem["detail"].startswith("LS-CHK-008 ") for _, problem in refused)


def test_probes_may_ask_for_the_head_alone(checkout, tmp_path):
    def head(url: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=20) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    with serving(checkout.published) as (address, _):
        assert [head(f"{address}/{name}") for name in ("healthz", "readyz", "metrics")] == [(200, b"")] * 3
    with serving(tmp_path / "published") as (address, _):
        assert [head(f"{address}/{name}") for name in ("healthz", "readyz")] == [(200, b""), (503, b"")]


@pytest.mark.fault("Rows", "whole numbers as ids in requests", "answered as text ids are")
def test_ids_may_be_whole_numbers(checkout, users, recommender):
    """Over HTTP and in Python; a number with a fraction or a truth value is none."""
    cart = [item for item in recommender.index.item_ids if item.isdigit()][:3]
    numbers, user = [int(item) for item in cart], users[0]
    wanted = recommender.recommend(cart, user, visit=cart, exclude=cart[:1], bought=[(cart[1], date(2017, 3, 1))])
    found = recommender.recommend(
        numbers, int(user), visit=numbers, exclude=numbers[:1], bought=[(numbers[1], date(2017, 3, 1))]
    )
    assert found == wanted and len(cart) == 3
    with serving(checkout.published) as (address, served):
        texts, asked = ({"cart": ids, "user": one} for ids, one in ((cart, user), (numbers, int(user))))
        answers = [ask(f"{address}/recommendations", question)[1] for question in (texts, asked)]
        assert items(answers[0]) == items(answers[1]) and answers[1]["is_known_user"]
        for odd in (1.5, True, None, [1]):
            assert ask(f"{address}/recommendations", {"cart": [odd]})[0] == 422
        assert served.current.answer(numbers, int(user)).items == served.current.answer(cart, user).items


@pytest.mark.fault("Machine", "published data older than the service accepts", "LS-CHK-007: a warning, or 503")
def test_old_data_are_named_and_refused_on_request(checkout):
    warned = pytest.warns(UserWarning, match="LS-CHK-007 the newest data are of 2017-02-28")
    with warned, serving(checkout.published) as (address, served):
        status, ready = ask(f"{address}/readyz")
        assert status == 200 and ready["as_of"] == "2017-02-28" and ready["warning"].startswith("LS-CHK-007")
        assert ask(f"{address}/recommendations", {})[0] == 200
        with urllib.request.urlopen(f"{address}/metrics", timeout=20) as response:
            assert "life_stage_data_as_of_timestamp_seconds 1.48824e+09" in response.read().decode()
        served.max_age_days = age = (datetime.now(UTC).date() - date(2017, 2, 28)).days
        assert ask(f"{address}/recommendations", {})[0] == 200
        served.max_age_days = age - 1
        for path, body in (("readyz", None), ("recommendations", {})):
            status, problem = ask(f"{address}/{path}", body)
            assert status == 503 and problem["detail"].startswith("LS-CHK-007 the newest data are of 2017-02-28")
        assert ask(f"{address}/healthz")[0] == 200


def test_a_body_that_never_ends_is_refused(checkout, monkeypatch):
    with serving(checkout.published) as (address, served):
        monkeypatch.setattr("life_stage_checkout.service.BODY_SECONDS", 0.2)
        with socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1])), timeout=20) as client:
            client.sendall(b"POST /recommendations HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
            assert client.recv(1000).startswith(b"HTTP/1.1 408 ")
        assert served.n_refused.labels(408)._value.get() == 1


@pytest.mark.slow
def test_requests_made_at_random_by_the_documentation_break_nothing(checkout, tmp_path):
    """Every answer has a status, a type and a schema of the OpenAPI document."""
    if not (tool := shutil.which("schemathesis", path=f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}")):
        pytest.skip("needs schemathesis")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    with serving(checkout.published) as (address, _):
        words = [tool, "run", f"{address}/openapi.json", "--checks", checks, "--max-examples", "300", "--seed", "1"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=600, cwd=tmp_path)
        assert done.returncode == 0, done.stdout[-3000:]
        assert len(ask(f"{address}/recommendations", {})[1]["items"]) == 10


def test_without_a_set_the_service_waits_for_one(checkout, tmp_path):
    with serving(tmp_path / "published") as (address, _):
        assert ask(f"{address}/healthz")[0] == 200
        for status, problem in (ask(f"{address}/readyz"), ask(f"{address}/recommendations", {})):
            assert status == 503 and problem["detail"].startswith("LS-CHK-006 no published set is loaded")
        copy_shop(checkout, tmp_path / "shop")
        os.symlink(tmp_path / "shop" / "published", tmp_path / "published")
        wait_for(lambda: ask(f"{address}/readyz")[0] == 200)
        assert len(ask(f"{address}/recommendations", {})[1]["items"]) == 10


@pytest.mark.fault("Machine", "a set is published while the service answers", "the new set, or the old one whole")
def test_a_new_set_is_loaded_and_the_old_one_answers_where_it_cannot_be(checkout, tmp_path, recwarn):
    shop = copy_shop(checkout, tmp_path / "shop")
    first = shop.published.resolve()

    def publish(name: str, run_id: str) -> Path:
        folder = first.with_name(name)
        shutil.copytree(first, folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(manifest | {"run_id": run_id}))
        return folder

    def show(folder: Path) -> None:
        os.symlink(folder, tmp_path / "new_link")
        os.replace(tmp_path / "new_link", shop.published)

    with serving(shop.published) as (address, served):
        answer = ask(f"{address}/recommendations", {})[1]
        broken = publish("broken", "broken_run")
        (broken / "serving" / "checkout_items.parquet").write_bytes(b"PAR1")
        show(broken)
        wait_for(lambda: served.n_failures._value.get() == 1)
        assert items(ask(f"{address}/recommendations", {})[1]) == items(answer)
        show(publish("second", "second_run"))
        wait_for(lambda: ask(f"{address}/readyz")[1]["run_id"] == "second_run")
        again = ask(f"{address}/recommendations", {})[1]
        assert again["run_id"] == "second_run" and items(again) == items(answer)
        assert served.n_failures._value.get() == 1


def test_a_set_that_could_not_be_loaded_is_tried_again(checkout, tmp_path, monkeypatch, recwarn):
    pytest.importorskip("fastapi", reason="needs the extra serve")
    from life_stage_checkout import service

    monkeypatch.setattr(service, "RETRY_SECONDS", 0.0)
    shutil.copytree(checkout.published.resolve(), tmp_path / "set")
    file, served = tmp_path / "set" / "serving" / "checkout_items.parquet", service.Served(tmp_path / "set", b"", None)
    file.rename(tmp_path / "hidden")
    served.refresh()
    served.refresh()
    assert served.current is None and served.n_failures._value.get() == 1
    (tmp_path / "hidden").rename(file)
    served.refresh()
    assert served.current is not None


def test_the_log_of_the_service_is_written_when_it_ends_and_names_no_user(checkout, users, tmp_path):
    with serving(checkout.published, logs=tmp_path / "logs") as (address, _):
        answers = [ask(f"{address}/recommendations", {"user": user})[1] for user in users[:5]]
    rows = pd.read_parquet(tmp_path / "logs" / "answers")
    assert list(rows["answer_id"].unique()) == [answer["answer_id"] for answer in answers]
    assert list(rows["item_id"]) == [item for answer in answers for item in items(answer)]
    assert len(pd.read_parquet(tmp_path / "logs" / "requests")) == 5 and rows["user_id"].isna().all()
    assert stat.S_IMODE((tmp_path / "logs" / "answers").stat().st_mode) == 0o700


@pytest.mark.parametrize("sent", [b"", b"POST /recommendations HTTP/1.1\r\nx: " + b"y" * 70_000], ids=["none", "long"])
def test_a_connection_without_complete_headers_is_closed(checkout, sent):
    with serving(checkout.published, headers=0.2) as (address, _):
        with socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1])), timeout=20) as client:
            client.sendall(sent)
            assert client.recv(1000) == b""
        assert ask(f"{address}/recommendations", {})[0] == 200


def test_without_consent_to_the_purpose_a_user_is_answered_as_an_unknown_one(checkout, users, tmp_path):
    asked, other = users[:2]
    shutil.copytree(checkout.published.resolve(), tmp_path / "set")
    rows = pd.DataFrame({"user_id": [asked], "purpose": ["email"]})
    rows.to_parquet(tmp_path / "set" / "serving" / "user_consents.parquet")
    served = PublishedSet.load(tmp_path / "set")
    unknown = served.answer(user="nobody").items
    assert served.answer(user=asked, purpose="email").items == served.answer(user=asked).items != unknown
    for question in ({"user": other, "purpose": "email"}, {"user": asked, "purpose": "push"}):
        answer = served.answer(**question)
        assert answer.items == unknown and not answer.is_known_user


def test_an_answer_tells_the_arms_of_whoever_is_named(checkout, users, tmp_path):
    assert PublishedSet.load(checkout.published).answer(user=users[0]).arms == {}
    shutil.copytree(checkout.published.resolve(), tmp_path / "set")
    rows = pd.DataFrame({"experiment": ["none", "all"], "treated_share": [0.0, 1.0]})
    rows.to_parquet(tmp_path / "set" / "serving" / "experiments.parquet")
    served = PublishedSet.load(tmp_path / "set")
    for user in (users[0], "nobody"):
        assert served.answer(user=user).arms == {"none": "control", "all": "treatment"}
    assert served.answer().arms == {}


def test_under_a_key_the_shop_asks_with_its_own_ids_and_the_log_has_pseudonyms(checkout, tmp_path, users):
    shop = copy_shop(checkout, tmp_path / "shop")
    folder = shop.published.resolve()
    with pytest.raises(ValueError, match="LS-PRI-004 the published user ids are no pseudonyms"):
        PublishedSet.load(shop.published, KEY)
    names = {pseudonym(KEY, user): user for user in users}
    for name in ("checkout_users", "checkout_habits", "checkout_browsing"):
        rows = pd.read_parquet(folder / "serving" / f"{name}.parquet")
        rows["user_id"] = [pseudonym(KEY, user) for user in rows["user_id"]]
        rows.to_parquet(folder / "serving" / f"{name}.parquet")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"id_key": pseudonym(KEY, "life_stage")}))
    for key, wrong in ((b"", "are pseudonyms:"), (b"another key of 16", "are pseudonyms of another key")):
        with pytest.raises(ValueError, match=f"LS-PRI-004 the published user ids {wrong}"):
            PublishedSet.load(shop.published, key)
    served, plain = PublishedSet.load(shop.published, KEY), PublishedSet.load(checkout.published)
    logs = {name: Log(tmp_path / name, ANSWERS) for name in ("keyed", "plain")}
    for user in users[:20]:
        answer = served.answer(user=f" {user} ", placement="mail", log=logs["keyed"])
        assert answer.items == plain.answer(user=user, log=logs["plain"]).items and answer.is_known_user
    for log in logs.values():
        log.flush()
    stored = pseudonym(KEY, users[0])
    assert (
        served.answer(user=stored).items == served.answer(user=users[0]).items
        and served.answer(user=stored).is_known_user
    )
    assert served.answer(user=int(users[0])).is_known_user and not served.answer(user=stored[:-1]).is_known_user
    assert not plain.answer(user=stored).is_known_user
    rows = pd.read_parquet(tmp_path / "keyed")
    assert [names[user] for user in rows["user_id"].unique()] == users[:20] and set(rows["placement"]) == {"mail"}
    assert list(rows["rank"]) == [*range(1, 11)] * 20 and rows["answer_id"].nunique() == 20
    assert list(rows["item_id"])[-10:] == [item.item_id for item in answer.items]
    assert pd.read_parquet(tmp_path / "plain")["user_id"].isna().all()


def test_the_tables_of_the_service_are_their_owners_alone_and_no_marts(checkout):
    folder = checkout.published / "serving"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = {file.stem for file in folder.iterdir()}
    with duckdb.connect(checkout.published / "life_stage.duckdb", read_only=True) as views:
        names = {name for (name,) in views.sql("select view_name from duckdb_views() where not internal").fetchall()}
    assert (
        "user_stages" in names
        and names & files == {"user_consents", "items"}
        and not [name for name in names if "/" in name]
    )
    assert set(pd.read_csv(checkout.published / "dictionary.csv")["mart"]) == names
    assert files == {f"checkout_{name}" for name in SERVED} | {"user_consents", "items", "experiments"}
    assert set(duckdb.sql(f"select distinct month::varchar from '{folder}/checkout_items.parquet'").fetchall()) == {
        ("2017-03-01",)
    }


def test_the_command_prints_an_answer_or_why_there_is_none(checkout, users, tmp_path):
    shop = copy_shop(checkout, tmp_path / "shop")
    served = PublishedSet.load(checkout.published)
    printed = shop.run("life-stage", "recommend", "--user", users[0], "--n", "4")
    wanted = served.answer(user=users[0], n=4)
    assert printed.exit_code == 0 and printed.output.startswith(
        f"{wanted.model}, features of 2017-03 from data until 2017-02-28, known user\n"
    )
    assert [line.split()[0] for line in printed.output.splitlines()[1:]] == [item.item_id for item in wanted.items]
    shutil.rmtree(shop.published.resolve() / "serving")
    failed = shop.run("life-stage", "recommend")
    assert failed.exit_code == 1 and "has no checkout: run the job with var checkout_months" in failed.output
