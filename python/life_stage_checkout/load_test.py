"""Load test of the recommender: latency percentiles of many requests. python -m life_stage_checkout.load_test

The carts are those of the evaluation, in turn. With --log every request is a row of the source table `requests`.
"""

import argparse
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter

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


def load_test(warehouse: Path, n_requests: int, log: RequestLog | None = None, model: str | None = None) -> np.ndarray:
    """Latency of every request in milliseconds. Raises ValueError LS-LOG-002 without an evaluated cart."""
    with duckdb.connect(str(warehouse), read_only=True) as session:
        carts = session.execute(CARTS).fetchall()
    if not carts:
        raise ValueError(f"LS-LOG-002 {warehouse} has no evaluated cart: run the job with var checkout_months above 0")
    recommender = Recommender.load(warehouse, model=model, log=log)
    milliseconds = []
    for user, cart in islice(cycle(carts), n_requests):
        start = perf_counter()
        recommender.recommend(cart, user)
        milliseconds.append((perf_counter() - start) * 1000)
    return np.array(milliseconds)


def main() -> None:
    """Run the load test and print the percentiles."""
    parser = argparse.ArgumentParser(prog="python -m life_stage_checkout.load_test", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000, help="number of requests (default: 10000)")
    parser.add_argument("--log", type=Path, help="folder of the request log, such as LIFE_STAGE_SOURCE/requests")
    parser.add_argument("--model", help="model of the carts (default: the champion)")
    options = parser.parse_args()
    if options.requests < 1:
        parser.error("--requests must be at least 1")
    log = RequestLog(options.log) if options.log else None
    try:
        milliseconds = load_test(paths.warehouse(), options.requests, log, options.model)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    if log:
        log.flush()
    p50, p95, p99 = np.quantile(milliseconds, [0.5, 0.95, 0.99])
    print(f"{len(milliseconds):,} requests: p50 {p50:.2f} ms, p95 {p95:.2f} ms, p99 {p99:.2f} ms")


if __name__ == "__main__":
    main()
