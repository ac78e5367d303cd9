"""Neural network of baskets (extra `deep`): an additional candidate generator, evaluated like the others.

Inputs are half of a basket and the user's repeat purchases; targets are the other half. A hidden layer with
normalisation and dropout gives log-odds per item, plus the item's habit with a weight per item. Early stopping uses
held-out users. Each month is predicted by a network trained on earlier baskets.
"""

from datetime import date
from typing import NamedTuple

import duckdb
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pyarrow as pa
from scipy.sparse import csr_matrix

from life_stage_checkout.linear_model import frequent_items, positions_of
from life_stage_checkout.nearest import nearest

SCHEMA = pa.schema([("month", pa.date32()), ("query_id", pa.int64()), ("item_no", pa.int32()), ("score", pa.float64())])
HELD_OUT = 10  # one user in so many is held out for early stopping
N_HIDDEN, DROPOUT, LEARNING_RATE, BATCH = 64, 0.5, 0.005, 250
SHARPNESS = 20  # the input of a habit is ln(1 + SHARPNESS * score)
MAX_EPOCHS, PATIENCE = 30, 2
SEED = 1


class Queries(NamedTuple):
    """Carts and habits (queries x items): 1 for context items; sum of time-decayed purchases."""

    carts: csr_matrix
    habits: csr_matrix

    def rows(self, chosen: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """The chosen rows as dense matrices, habits as logarithms."""
        carts, habits = (matrix[chosen].toarray().astype(np.float32) for matrix in self)
        return carts, np.log1p(SHARPNESS * habits)


def neural_scores(
    *, items, lines, queries, query_items, query_habits, month: str, options: dict[str, float]
) -> pa.Table:
    """Rows of SCHEMA: the fifty items outside the cart with the highest probability relative to a random item.

    Relations are named as the models. options: `n_items`, the number of most frequent items used; `n_baskets`, the
    number of newest baskets trained on; `half_life_days`, of the habits.
    """
    in_month = f"month = date '{month}'"
    item_no, _ = frequent_items(items, month, options["n_items"])
    if not len(item_no):
        return SCHEMA.empty_table()
    before = lines.filter(f"month < date '{month}'").order("user_id, acted_on, month, basket_id, item_no")
    weights = network(*baskets(before, item_no, options), len(item_no))
    query_ids = queries.filter(in_month).project("query_id").order("query_id").fetchnumpy()["query_id"]
    carts = query_items.filter(f"{in_month} and context = 'cart'").project("query_id, item_no, weight")
    habits = query_habits.filter(in_month).project("query_id, item_no, score")
    inputs = Queries(*(matrix_of(relation, query_ids, item_no) for relation in (carts, habits)))
    tables = [SCHEMA.empty_table()]
    for first in range(0, len(query_ids), BATCH):
        rows = slice(first, first + BATCH)
        cart, habit = inputs.rows(rows)
        lift = np.asarray(jax.nn.softmax(forward(weights, cart, habit)), float) * len(item_no) * (cart == 0)
        query, item, score = nearest(lift)
        columns = [[date.fromisoformat(month)] * len(query), query_ids[rows][query], item_no[item], score]
        tables.append(pa.table(columns, schema=SCHEMA))
    return pa.concat_tables(tables)


def matrix_of(relation: duckdb.DuckDBPyRelation, query_id: np.ndarray, item_no: np.ndarray) -> csr_matrix:
    """Queries x items from rows of query, item and value; rows outside either list are ignored."""
    queries, items, values = relation.fetchnumpy().values()
    row, column = positions_of(queries, query_id), positions_of(items, item_no)
    is_known = (row >= 0) & (column >= 0)
    parts = values[is_known], (row[is_known], column[is_known])
    return csr_matrix(parts, (len(query_id), len(item_no)))


def baskets(lines: duckdb.DuckDBPyRelation, item_no: np.ndarray, options: dict[str, float]):
    """(queries, relevant items, True if held out) of the newest baskets; lines sorted by user and day."""
    rows = lines.df()
    item, user = positions_of(rows["item_no"].to_numpy(), item_no), rows["user_id"].factorize()[0]
    day = (rows["acted_on"] - rows["acted_on"].min()).dt.days.to_numpy()
    basket = rows.groupby(["month", "basket_id"], sort=False).ngroup().to_numpy()
    first = np.unique(basket, return_index=True)[1]  # a line of each basket
    newest = np.sort(
        np.argsort(-rows.groupby(basket)["acted_on"].min().astype(int), kind="stable")[: options["n_baskets"]]
    )
    position = np.full(len(first), -1)
    position[newest] = np.arange(len(newest))
    shape = len(newest), len(item_no)

    def marked(chosen: np.ndarray) -> csr_matrix:
        chosen = chosen & (position[basket] >= 0) & (item >= 0)
        return csr_matrix((np.ones(chosen.sum()), (position[basket[chosen]], item[chosen])), shape)

    is_context_item = rows["is_context_item"].to_numpy()
    # Earlier purchases of the user: the lines from the user's first one to the basket's day.
    at = first[newest]
    clock = user * (day.max() + 1.0) + day
    since, until = np.searchsorted(user, user[at]), np.searchsorted(clock, clock[at])
    n_lines = until - since
    row = np.repeat(np.arange(len(newest)), n_lines)
    line = np.arange(n_lines.sum()) + np.repeat(since - np.cumsum(n_lines) + n_lines, n_lines)
    decay = 0.5 ** ((day[at][row] - day[line]) / options["half_life_days"])
    is_known = item[line] >= 0
    habits = csr_matrix((decay[is_known], (row[is_known], item[line][is_known])), shape)
    return Queries(marked(is_context_item), habits), marked(~is_context_item), user[at] % HELD_OUT == 0


def initial_weights(n_items: int, relevant: csr_matrix) -> dict[str, jax.Array]:
    """Small random weights; the initial log-odds are the items' frequencies."""
    draws = np.random.default_rng(SEED)
    shapes = {"cart": (n_items, N_HIDDEN), "habit": (n_items, N_HIDDEN), "out": (N_HIDDEN, n_items)}
    weights = {name: draws.normal(0, 0.02, shape) for name, shape in shapes.items()}
    weights |= {"gain": np.ones(N_HIDDEN), "shift": np.zeros(N_HIDDEN), "own": np.ones(n_items)}
    weights |= {"new": np.array([0.0, 0.7]), "known": np.array([2.0, 0.1])}
    weights["popular"] = np.log(np.asarray(relevant.sum(axis=0)).ravel() + 0.5)
    return {name: jnp.asarray(values, jnp.float32) for name, values in weights.items()}


def forward(weights: dict[str, jax.Array], cart: jax.Array, habit: jax.Array, kept: jax.Array | float = 1.0):
    """Log-odds of every item; kept: dropout mask of the hidden units, scaled."""
    hidden = cart @ weights["cart"] + habit @ weights["habit"]
    hidden = jax.nn.standardize(hidden, axis=1)  # its eps allows empty carts
    hidden = jax.nn.relu(hidden * weights["gain"] + weights["shift"]) * kept
    # For an item that the user has bought before, the habit predicts better than popularity.
    (new, new_popular), (known, known_popular) = weights["new"], weights["known"]
    popular = weights["popular"]
    wide = jnp.where(habit > 0, known + known_popular * popular + weights["own"] * habit, new + new_popular * popular)
    return hidden @ weights["out"] + wide


def loss(weights: dict[str, jax.Array], cart, habit, relevant, kept=1.0) -> jax.Array:
    """Mean negative log-probability of the relevant items, each basket with the same weight."""
    each = relevant / jnp.maximum(relevant.sum(axis=1, keepdims=True), 1)
    return -(each * jax.nn.log_softmax(forward(weights, cart, habit, kept))).sum(axis=1).mean()


def network(queries: Queries, relevant: csr_matrix, is_held_out: np.ndarray, n_items: int) -> dict[str, jax.Array]:
    """The weights with the least loss on held-out baskets."""
    rng = np.random.default_rng(SEED)
    rows, held_out = np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
    optimiser = optax.adamw(LEARNING_RATE)
    weights = best = initial_weights(n_items, relevant[rows])
    state, least, n_worse = optimiser.init(weights), np.inf, 0

    @jax.jit
    def step(weights, state, cart, habit, relevant, kept):
        change, state = optimiser.update(jax.grad(loss)(weights, cart, habit, relevant, kept), state, weights)
        return optax.apply_updates(weights, change), state

    def batches(chosen: np.ndarray):
        for first in range(0, len(chosen), BATCH):
            batch = chosen[first : first + BATCH]
            yield *queries.rows(batch), relevant[batch].toarray().astype(np.float32)

    evaluate = jax.jit(loss)
    for _ in range(MAX_EPOCHS):
        for cart, habit, target in batches(rng.permutation(rows)):
            kept = (rng.random((len(cart), N_HIDDEN)) >= DROPOUT).astype(np.float32) / (1 - DROPOUT)
            weights, state = step(weights, state, cart, habit, target, kept)
        total = sum(float(evaluate(weights, *batch)) * len(batch[0]) for batch in batches(held_out))
        if total < least:
            best, least, n_worse = weights, total, 0
        elif (n_worse := n_worse + 1) == PATIENCE:
            break
    return best
