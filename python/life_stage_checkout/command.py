"""The commands `life-stage serve` and `life-stage recommend`."""

import argparse
import os
import sys

import duckdb

from life_stage import paths
from life_stage.engine.pseudonyms import key_of


def run(given: argparse.Namespace) -> None:
    """Run the command. Ends the program with 1 and an error code if it fails."""
    try:
        key = key_of(os.environ)
        if given.command == "recommend":
            recommend(given, key)
        else:
            serve(given, key)
    except (ValueError, duckdb.Error) as error:
        sys.exit(str(error))


def recommend(given: argparse.Namespace, key: bytes) -> None:
    """Print the items of one answer."""
    from life_stage_checkout.answers import PublishedSet

    served = PublishedSet.load(paths.published(), key)
    answer = served.answer(given.cart, given.user, given.n)
    known = "known" if answer.is_known_user else "unknown"
    print(f"{answer.model}, features of {answer.month[:7]} from data until {answer.as_of}, {known} user")
    for item in answer.items:
        print(f"{item.item_id:<20} {item.probability:.3f}  {item.reason}")


def serve(given: argparse.Namespace, key: bytes) -> None:
    """Serve until SIGTERM or SIGINT."""
    try:
        from life_stage_checkout.service import serve as serve_http
    except ImportError as error:
        raise ValueError(f"LS-CHK-005 {error.name} is not installed: pip install -e '.[serve]'") from None
    link = paths.published()
    print(f"serving {paths.shown(link)} at http://{given.host}:{given.port}, documentation at /docs", flush=True)
    serve_http(link, key, given.host, given.port, given.log, given.max_age_days)
