"""Tables of docs/checkout.md, generated from the stored results of make bench-checkout."""

import re

from results_page import DOCS, markdown, number, results

ORDER = ("popular", "alike", "linear", "together", "deep", "habit", "hybrid")
METRICS = ("recall_at_10", "map_at_10", "ndcg_at_10", "auc", "recall_at_20", "new_item_recall_at_20")
NAMES = ("recall@10", "MAP@10", "NDCG@10", "AUC", "recall@20", "new-item recall@20")
PAGE = DOCS / "checkout.md"


def interval(figures: list[float], digits: int = 3) -> str:
    """A difference with its interval."""
    value, lowest, highest = figures[:3]
    return f"{value:+.{digits}f} [{lowest:+.{digits}f}, {highest:+.{digits}f}]"


def models(figures: dict) -> str:
    """Metrics of every registered model for carts and for empty carts."""
    carts, users, shown = (
        figures["leaderboard"]["cart"],
        figures["leaderboard"]["user"],
        figures["share_of_catalogue_shown"],
    )
    rows = (
        [
            model,
            *(number(carts[model][metric][0], 3) for metric in METRICS),
            number(shown[model], 2),
            number(users[model]["recall_at_10"][0], 3),
        ]
        for model in ORDER
        if model in carts
    )
    return markdown(["model", *NAMES, "coverage", "empty-cart recall@10"], rows)


def peers(figures: dict) -> str:
    """The hybrid, habits and other libraries over all samples of the carts."""
    draws = list(figures["draws"].values())
    means = {name: [sum(draw[name][n] for draw in draws) / len(draws) for n in (0, 1)] for name in draws[0]}
    gains = figures["hybrid_ahead_of"]
    rows = (
        [
            name,
            number(means[name][0], 3),
            number(means[name][1], 3),
            *(interval(gains[name][metric]) if name in gains else "" for metric in ("recall_at_10", "map_at_10")),
        ]
        for name in sorted(means, key=lambda name: -means[name][0])
    )
    header = [
        "model",
        f"recall@10, mean of {len(draws)} samples",
        "MAP@10",
        "gain of hybrid, recall@10",
        "gain, MAP@10",
    ]
    return markdown(header, rows)


def families(figures: dict) -> str:
    """Gain of the stage features for the carts of baby-goods buyers and of all households."""
    found = figures["stages_of_families"]
    rows = (
        [
            name,
            str(found["counts"][key]["carts"]),
            str(found["counts"][key]["users"]),
            *(interval(found["gains"][key][metric]) for metric in ("recall_at_10", "map_at_10")),
        ]
        for key, name in (("families", "baby-goods buyers"), ("all", "all households"))
    )
    return markdown(["cohort", "carts", "households", "gain of stages, recall@10", "gain, MAP@10"], rows)


TABLES = (models, peers, families)


def write() -> None:
    """Replace the tables between their marks."""
    text, figures = PAGE.read_text(), results("checkout")["figures"]
    for table in TABLES:
        mark = f"<!-- {table.__name__} -->"
        text = re.sub(f"{mark}.*?{mark}", f"{mark}\n{table(figures)}\n{mark}", text, flags=re.S)
    PAGE.write_text(text)


if __name__ == "__main__":
    write()
