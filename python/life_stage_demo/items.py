"""Items of the simulated shop: sizes, brands, titles, properties, and their demand by age.

Demand depends on the age only through visible attributes (size, formula stage, age word, age property), without hidden
information.
"""

import json
from functools import cache

import numpy as np

from .age_words import AGE_WORDS, word_given_age
from .ages import AGES, FIRST_AGE, N_ROWS, NO_AGE, range_fit
from .category_shares import HOUSEHOLD
from .leaves import LEAF_CATEGORY, LEAVES, leaf_given_age
from .parameters import Parameters
from .sizes import SIZES

BRANDS = tuple(
    a + b
    for a in ("Mila", "Bobo", "Nuvo", "Tiko", "Lumi", "Pando", "Sora", "Kibi")
    for b in ("", "land", "nest", "kids")
)
_MATERIALS = ("cotton", "bamboo", "silicone", "wood", "plastic", "wool")
_PRICES = {"maternity": 90, "diapers and care": 130, "formula and food": 70, "toys": 80}
_PRICES |= {"clothing": 60, "shoes": 100, "household": 50}  # of an average item, in yuan
_ADJECTIVES = ("透气", "柔软", "新款", "进口", "加厚", "便携", "防滑", "舒适")


def make_items(rng: np.random.Generator, parameters: Parameters) -> list[dict]:
    """One dict per item, ordered by leaf: the data contract's columns, leaf and brand indices, age range."""
    shares = np.sqrt([leaf.weight for leaf in LEAVES])
    counts = np.maximum(8, np.floor(parameters.n_items * shares / shares.sum())).astype(int)
    curves = leaf_given_age(parameters)[:NO_AGE] * (AGES < 84)[:, None]
    words = word_given_age()
    items = []
    for number, count in enumerate(counts):
        for rank in range(count):
            items.append(_make_item(rng, parameters, number, rank, curves[:, number], words))
            item_id = 1_000_000 + len(items)
            items[-1] |= {"item_id": item_id, "price": _price(number, item_id)}
    return items


def _make_item(rng, parameters: Parameters, number: int, rank: int, curve: np.ndarray, words: np.ndarray) -> dict:
    leaf, brand = LEAVES[number], int(rng.integers(len(BRANDS)))
    age = int(rng.choice(AGES, p=curve / curve.sum()))
    size, first, last = _pick_size(rng, parameters, leaf)
    is_for_children = LEAF_CATEGORY[number] != HOUSEHOLD
    word = None
    if is_for_children and rng.random() < parameters.title_word_share / 0.9:  # household titles never have one
        middle = age if size is None else int(rng.integers(first, last))
        word = AGE_WORDS[rng.choice(len(AGE_WORDS), p=words[middle - AGES[0]])]
        if size is None:
            first, last = word.first, word.last
    states_age = is_for_children and rng.random() < parameters.property_age_share
    if states_age and first is None:
        first = max(FIRST_AGE, age - age % 6)
        last = first + 6
    return {
        "title": _title(rng, leaf, BRANDS[brand], size, word),
        "category": leaf.category,
        "leaf_category": leaf.name,
        "brand": BRANDS[brand],
        "size": size,
        "properties": _properties(rng, leaf, size, (first, last) if states_age else None),
        "leaf": number,
        "brand_number": brand,
        "popularity": 1 / (rank + 5),
        "range": (first, last),
    }


def _price(number: int, item_id: int) -> float:
    """Price by category, leaf and item, without a random number, so that all other data stay as they are."""
    return _PRICES[LEAVES[number].category] * (40 + 37 * number % 121) * (80 + 7 * item_id % 41) // 1000 / 10


def _pick_size(rng, parameters: Parameters, leaf) -> tuple:
    """(size, first and last age of the size), or three times None without a size."""
    if not leaf.sizes or rng.random() >= parameters.sized_share:
        return None, None, None
    return SIZES[leaf.sizes][rng.integers(len(SIZES[leaf.sizes]))]


def _title(rng, leaf, brand: str, size: str | None, word) -> str:
    parts = [brand, leaf.chinese, str(rng.choice(_ADJECTIVES)), size or ""]
    if word is not None:
        parts.insert(1 if word.is_chinese else 4, word.text)
    return " ".join(part for part in parts if part)


def _properties(rng, leaf, size: str | None, ages: tuple | None) -> str:
    """JSON text of further attributes; ages are in months below two years, else in years."""
    properties = {"material": str(rng.choice(_MATERIALS))}
    if leaf.sizes == "formula" and size:
        properties["formula_stage"] = size
    if ages and ages[1] <= 0:
        properties["applicable_age"] = "孕期"
    elif ages and ages[1] <= 24:
        properties["applicable_age"] = f"{max(0, ages[0])}-{ages[1]}个月"
    elif ages:
        properties["applicable_age"] = f"{max(0, ages[0]) // 12}-{-(-ages[1] // 12)}岁"
    return json.dumps(properties, ensure_ascii=False)


def item_weights(items: list[dict], parameters: Parameters) -> np.ndarray:
    """Relative demand for each item at each table row, shape (N_ROWS, n_items); comparable within a leaf."""

    @cache
    def fit(ages: tuple) -> np.ndarray:
        curve = np.ones(N_ROWS)
        if ages[0] is not None:
            curve[:NO_AGE] = range_fit(*ages, parameters.range_decay, parameters.range_floor)
        return curve

    return np.column_stack([item["popularity"] * fit(item["range"]) for item in items])
