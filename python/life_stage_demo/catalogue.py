"""Catalogue of the simulated shop: leaf categories, items and search terms, with likelihoods given the age."""

import numpy as np
import pyarrow as pa

from .ages import AGES
from .choices import GroupedChoice
from .items import item_weights, make_items
from .leaves import leaf_given_age
from .parameters import Parameters
from .search_terms import make_search_terms, search_term_weights
from .streams import CATALOGUE, stream

_COLUMNS = ("item_id", "title", "category", "leaf_category", "brand", "size", "properties", "price")


class Catalogue:
    """Leaves, items and search terms of one seed; the same in every worker."""

    def __init__(self, seed: int, parameters: Parameters):
        self._items = make_items(stream(seed, 0, CATALOGUE), parameters)
        self.leaf_p = leaf_given_age(parameters)
        self.leaves = GroupedChoice(self.leaf_p, np.zeros(self.leaf_p.shape[1], dtype=int))
        self.item_leaf = np.array([item["leaf"] for item in self._items])
        self.item_brand = np.array([item["brand_number"] for item in self._items])
        self.item_id = np.array([item["item_id"] for item in self._items])
        self.items = GroupedChoice(item_weights(self._items, parameters), self.item_leaf)
        self.terms, self.term_leaf = make_search_terms()
        self.term_array = pa.array(self.terms)
        self.search_terms = GroupedChoice(search_term_weights(parameters), self.term_leaf)

    def table(self) -> pa.Table:
        """The items table of the data contract."""
        return pa.table({name: [item[name] for item in self._items] for name in _COLUMNS})

    def likelihood(self) -> dict[str, np.ndarray]:
        """Inputs of the oracle upper bound, for truth/likelihood.npz.

        ages (n_ages,) in months; tables have n_ages + 1 rows, the last for sessions for no child.
        leaf_log_p = log p(leaf | age) at average taste; item_log_p = log p(item | leaf, age), with columns item_id and
        item_leaf; term_log_p = log p(term | leaf, age), with columns term and term_leaf.
        """
        return {
            "ages": AGES,
            "leaf_log_p": np.log(self.leaf_p),
            "item_log_p": np.log(self.items.p),
            "term_log_p": np.log(np.maximum(self.search_terms.p, 1e-300)),
            "item_id": self.item_id,
            "item_leaf": self.item_leaf,
            "term": np.array(self.terms),
            "term_leaf": self.term_leaf,
        }
