"""Latency and throughput of `life-stage serve` on the published demo, and on the same with more items.

python bench/service.py [PUBLISHED]; prints a row per number of items: answers a second over two connections, and
latencies over one. Copies of an item have neighbours among the copies of the same number. Needs the extra `serve`.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

import duckdb
import numpy as np

from life_stage import paths
from life_stage_checkout.load_test import Cart, load_test_of_service, memory

COPIES = (1, 2, 20)  # of each item
N_REQUESTS = 300 if os.environ.get("QUICK") else 4_000
PORT = 8765
# By table: the columns that number items, and those that are shares of all items.
ITEMS = {
    "checkout_catalogue": (["item_no"], []),
    "checkout_items": (["item_no"], ["share", "share_of_type"]),
    "checkout_neighbours": (["item_no", "other_item_no"], []),
}


def scaled(published: Path, folder: Path, copies: int) -> Path:
    """A link to a copy of the published set with so many copies of each item."""
    whole = folder / f"set_{copies}"
    shutil.copytree(published.resolve(), whole)
    with duckdb.connect() as session:
        ((n_items,),) = session.sql(f"select count(*) from '{whole}/serving/checkout_catalogue.parquet'").fetchall()
        for table, (numbers, shares) in ITEMS.items():
            file = whole / "serving" / f"{table}.parquet"
            changed = [f"{name} + copy_no * {n_items} as {name}" for name in numbers]
            changed += [f"{name} / {copies} as {name}" for name in shares]
            if table == "checkout_catalogue":
                changed.append("case when copy_no = 0 then item_id else concat(item_id, ' ', copy_no) end as item_id")
            rows = f"select * replace ({', '.join(changed)}) from '{file}', range({copies}) as copies(copy_no)"
            session.sql(f"create or replace temp table rows as {rows}")
            session.sql(f"copy (select * exclude (copy_no) from rows order by all) to '{file}'")
    link = folder / f"published_{copies}"
    link.symlink_to(whole)
    return link


def carts_of(published: Path) -> list[Cart]:
    """A cart of the three newest purchases of each shopper, one of three carts empty."""
    sql = f"""
        select user_id, list(item_id order by last_on desc, item_no)[:3]
        from '{published}/serving/checkout_habits.parquet' inner join '{published}/serving/checkout_catalogue.parquet'
        using (item_no) group by user_id order by hash(user_id) limit {N_REQUESTS}
    """
    rows = duckdb.sql(sql).fetchall()
    rows = (rows * (N_REQUESTS // len(rows) + 1))[:N_REQUESTS]
    return [(user, [] if number % 3 == 0 else cart) for number, (user, cart) in enumerate(rows)]


def measure(link: Path, carts: list[Cart]) -> dict[str, float]:
    """Figures of a service of the set."""
    url, start = f"http://127.0.0.1:{PORT}", time.perf_counter()
    command = [sys.executable, "-m", "life_stage.commands.command_line", "serve", "--port", str(PORT)]
    service = subprocess.Popen(command, env=os.environ | {"LIFE_STAGE_PUBLISHED": str(link)}, stdout=subprocess.DEVNULL)
    try:
        while not is_ready(url):
            if service.poll() is not None or time.perf_counter() - start > 300:
                raise RuntimeError("the service did not start: run life-stage serve and read its output")
            time.sleep(0.1)
        figures = {"seconds to load": time.perf_counter() - start}
        load_test_of_service(url, carts[:200], 1)
        latencies = np.quantile(load_test_of_service(url, carts, 1), [0.5, 0.95, 0.99])
        figures |= dict(zip(("p50 ms", "p95 ms", "p99 ms"), latencies, strict=True))
        start = time.perf_counter()
        load_test_of_service(url, carts, 2)
        return figures | {"answers a second": len(carts) / (time.perf_counter() - start), "MB": memory(url)}
    finally:
        service.terminate()
        service.wait(30)


def is_ready(url: str) -> bool:
    """True once the service has loaded its set."""
    try:
        with urlopen(f"{url}/readyz", timeout=5) as response:
            return json.load(response)["status"] == "ready"
    except OSError:
        return False


def main() -> None:
    """Measure and print."""
    published = paths.published(sys.argv[1] if len(sys.argv) > 1 else "")
    carts = carts_of(published)
    with TemporaryDirectory() as folder:
        for copies in COPIES:
            link = scaled(published, Path(folder), copies)
            ((n,),) = duckdb.sql(f"select count(*) from '{link}/serving/checkout_catalogue.parquet'").fetchall()
            found = ", ".join(f"{name} {value:,.2f}" for name, value in measure(link, carts).items())
            print(f"{n:,} items: {found}", flush=True)


if __name__ == "__main__":
    main()
