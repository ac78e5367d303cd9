"""Load test of the recommender: latency percentiles of many requests. python -m life_stage_checkout.load_test

The carts are those of the evaluation, in turn. They go to a recommender in this process, or with --url to a service.
With --log every request is a row of the source table `requests`.
"""

import argparse
import http.client
import json
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit
from urllib.request import urlopen

import duckdb
import numpy as np

from life_stage import paths
from life_stage_checkout.request_log import RequestLog
from life_stage_checkout.serving import Recommender

CARTS = """
    select queries.user_id, list(catalogue.item_id order by catalogue.item_no)
    from checkout_queries as queries
    inner join checkout_query_items as items on queries.query_id = items.query_id and items.context = 'cart'
    inner join checkout_catalogue as catalogue on items.item_no = catalogue.item_no
    where queries.month in (select month from checkout_months where is_evaluated) and queries.kind = 'cart'
    group by queries.query_id, queries.user_id order by queries.query_id
"""
Cart = tuple[str, list[str]]  # user and items


def carts_of(warehouse: Path, n_requests: int) -> list[Cart]:
    """The carts of the evaluation, as often as needed. Raises ValueError LS-LOG-002 without one."""
    with duckdb.connect(str(warehouse), read_only=True) as session:
        carts = session.execute(CARTS).fetchall()
    if not carts:
        raise ValueError(f"LS-LOG-002 {warehouse} has no evaluated cart: run the job with var checkout_months above 0")
    return list(islice(cycle(carts), n_requests))


def load_test(warehouse: Path, n_requests: int, log: RequestLog | None = None, model: str | None = None) -> np.ndarray:
    """Latency of every request in milliseconds. Raises as carts_of."""
    carts = carts_of(warehouse, n_requests)
    recommender = Recommender.load(warehouse, model=model, log=log)
    milliseconds = []
    for user, cart in carts:
        start = perf_counter()
        recommender.recommend(cart, user)
        milliseconds.append((perf_counter() - start) * 1000)
    return np.array(milliseconds)


def load_test_of_service(url: str, carts: list[Cart], n_connections: int) -> np.ndarray:
    """Latency of every request in milliseconds, over as many connections at once, each of a process."""
    with ProcessPoolExecutor(n_connections) as pool:
        parts = pool.map(ask, [url] * n_connections, [carts[number::n_connections] for number in range(n_connections)])
        return np.concatenate(list(parts))


def ask(url: str, carts: list[Cart]) -> list[float]:
    """Latencies in milliseconds of the carts, one after the other over one connection."""
    place, milliseconds = urlsplit(url), []
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
    for user, cart in carts:
        body = json.dumps({"cart": cart, "user": user})
        start = perf_counter()
        connection.request("POST", "/recommendations", body, {"content-type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        milliseconds.append((perf_counter() - start) * 1000)
        if response.status != 200:
            raise ValueError(f"LS-LOG-003 {url} answered with {response.status}, {answer.decode()}: remove its cause")
    return milliseconds


def memory(url: str) -> float:
    """Resident memory of the service in megabytes, as its metrics tell."""
    with urlopen(f"{url}/metrics", timeout=30) as response:
        figures = dict(line.split() for line in response.read().decode().splitlines() if line[:8] == "process_")
    return float(figures["process_resident_memory_bytes"]) / 1e6


def main() -> None:
    """Run the load test and print the percentiles."""
    parser = argparse.ArgumentParser(prog="python -m life_stage_checkout.load_test", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000, help="number of requests (default: 10000)")
    parser.add_argument("--log", type=Path, help="folder of the request log, such as LIFE_STAGE_SOURCE/requests")
    parser.add_argument("--model", help="model of the carts (default: the champion)")
    parser.add_argument("--url", help="service to ask, such as http://127.0.0.1:8000; under a key, users are unknown")
    parser.add_argument("--connections", type=int, default=1, help="at once, to the service (default: 1)")
    options = parser.parse_args()
    if options.requests < 1 or options.connections < 1:
        parser.error("--requests and --connections must be at least 1")
    if options.url and (options.log or options.model):
        parser.error("--log and --model are settings of the service: life-stage serve --log; not with --url")
    log = RequestLog(options.log) if options.log else None
    try:
        if options.url:
            carts, before = carts_of(paths.warehouse(), options.requests), memory(options.url)
            start = perf_counter()
            milliseconds = load_test_of_service(options.url, carts, options.connections)
            rate = len(milliseconds) / (perf_counter() - start)
            print(f"{rate:,.0f} answers a second; memory {before:,.0f} MB before, {memory(options.url):,.0f} MB after")
        else:
            milliseconds = load_test(paths.warehouse(), options.requests, log, options.model)
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from None
    if log:
        log.flush()
    p50, p95, p99 = np.quantile(milliseconds, [0.5, 0.95, 0.99])
    print(f"{len(milliseconds):,} requests: p50 {p50:.2f} ms, p95 {p95:.2f} ms, p99 {p99:.2f} ms")


if __name__ == "__main__":
    main()
