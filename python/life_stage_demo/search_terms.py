"""Search terms of the simulated shop: names of leaf categories, with and without an age word."""

import numpy as np

from .age_words import AGE_WORDS, word_given_age
from .ages import N_ROWS, NO_AGE
from .category_shares import HOUSEHOLD
from .items import BRANDS
from .leaves import LEAF_CATEGORY, LEAVES
from .parameters import Parameters

_PLAIN = 6  # plain terms of a leaf: two names and four brands


def make_search_terms() -> tuple[list[str], np.ndarray]:
    """(terms, leaf index of each), ordered by leaf: per leaf the plain terms, then one term per age word."""
    terms, leaves = [], []
    for number, leaf in enumerate(LEAVES):
        brands = [BRANDS[(5 * number + k) % len(BRANDS)] for k in range(_PLAIN - 2)]
        own = [leaf.chinese, leaf.name] + [f"{brand} {leaf.chinese}" for brand in brands]
        if LEAF_CATEGORY[number] != HOUSEHOLD:
            own += [_with_word(word, leaf, position) for position, word in enumerate(AGE_WORDS)]
        terms += own
        leaves += [number] * len(own)
    return terms, np.array(leaves)


def _with_word(word, leaf, position: int) -> str:
    """'3岁积木', '积木 3岁' or 'blocks 3-year-old'."""
    if not word.is_chinese:
        return f"{leaf.name} {word.text}"
    return f"{leaf.chinese} {word.text}" if position % 3 == 0 else word.text + leaf.chinese


def search_term_weights(parameters: Parameters) -> np.ndarray:
    """p(term | leaf, table row), shape (N_ROWS, n_terms), same order as make_search_terms."""
    aged = np.vstack([word_given_age(), np.full(len(AGE_WORDS), 1 / len(AGE_WORDS))])
    plain = np.array([0.4, 0.2, 0.1, 0.1, 0.1, 0.1])
    blocks = []
    for number in range(len(LEAVES)):
        share = 0.0 if LEAF_CATEGORY[number] == HOUSEHOLD else parameters.search_word_share / 0.9
        row_share = np.full((N_ROWS, 1), share)
        row_share[NO_AGE] = share / 10  # sessions for no child rarely search with an age
        blocks.append((1 - row_share) * plain)
        if share:
            blocks.append(row_share * aged)
    return np.hstack(blocks)
