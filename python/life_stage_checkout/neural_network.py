"""Small neural network of baskets, from the extra `deep`: one more candidate generator, evaluated like the others.

It reads half of a basket and what its shopper buys again, and learns to name the other half: a hidden layer, normalised
and with dropout, gives every item its odds, and the habit itself adds to them with a weight of the item's own. Training
stops when shoppers who take no part in it are told no better. Each month is told from the baskets before it.
"""

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

SCHEMA = pa.schema([("query_id", pa.int64()), ("item_no", pa.int32()), ("score", pa.float64())])
HELD_OUT = 10  # one shopper in so many says when to stop
N_HIDDEN, DROPOUT, STEP, BATCH = 64, 0.5, 0.005, 250
SHARPNESS = 20  # habits are read as ln(1 + SHARPNESS * score)
MOST_ROUNDS, PATIENCE = 30, 2
SEED = 1


class Queries(NamedTuple):
    """Carts and habits, questions x items: 1 for what is given; what is left of each purchase, added up."""

    carts: csr_matrix
    habits: csr_matrix

    def rows(self, chosen: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """Some of them, dense, habits as logarithms."""
        carts, habits = (matrix[chosen].toarray().astype(np.float32) for matrix in self)
        return carts, np.log1p(SHARPNESS * habits)


def neural_scores(*, items, lines, queries, query_items, query_habits, options: dict[str, float]) -> pa.Table:
    """Rows of SCHEMA: the fifty items with the highest odds that are not in the cart, over those of an item at random.

    Relations of the same names as the models. options: `n_items`, the most frequent ones that take part, `n_baskets`,
    the newest to learn from, and `half_life_days`, as of the habits.
    """
    tables = [SCHEMA.empty_table()]
    for (month,) in queries.project("month").distinct().order("month").fetchall():
        of_month = f"month = date '{month}'"
        item_no, _ = frequent_items(items, month, options["n_items"])
        if not len(item_no):
            continue
        before = lines.filter(f"month < date '{month}'").order("user_id, acted_on, month, basket_id, item_no")
        learned = network(*baskets(before, item_no, options), len(item_no))
        queried = queries.filter(of_month).project("query_id").order("query_id").fetchnumpy()["query_id"]
        carts = query_items.filter(f"{of_month} and context = 'cart'").project("query_id, item_no, weight")
        habits = query_habits.join(queries.filter(of_month), "query_id").project("query_id, item_no, score")
        questions = Queries(*(matrix_of(relation, queried, item_no) for relation in (carts, habits)))
        for first in range(0, len(queried), BATCH):
            rows = slice(first, first + BATCH)
            cart, habit = questions.rows(rows)
            odds = np.asarray(jax.nn.softmax(forward(learned, cart, habit)), float) * len(item_no) * (cart == 0)
            case, item, score = nearest(odds)
            tables.append(pa.table([queried[rows][case], item_no[item], score], schema=SCHEMA))
    return pa.concat_tables(tables)


def matrix_of(relation: duckdb.DuckDBPyRelation, query_id: np.ndarray, item_no: np.ndarray) -> csr_matrix:
    """Cases x items from rows of case, item and value; what is in neither list is left out."""
    queries, items, values = relation.fetchnumpy().values()
    row, column = positions_of(queries, query_id), positions_of(items, item_no)
    is_known = (row >= 0) & (column >= 0)
    parts = values[is_known], (row[is_known], column[is_known])
    return csr_matrix(parts, (len(query_id), len(item_no)))


def baskets(lines: duckdb.DuckDBPyRelation, item_no: np.ndarray, options: dict[str, float]):
    """(Questions, wanted items, whether held out) of the newest baskets; lines in the order of users and days."""
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
    # What the shopper bought on the days before: the lines from the shopper's first one to that day.
    at = first[newest]
    clock = user * (day.max() + 1.0) + day
    since, until = np.searchsorted(user, user[at]), np.searchsorted(clock, clock[at])
    n_lines = until - since
    row = np.repeat(np.arange(len(newest)), n_lines)
    line = np.arange(n_lines.sum()) + np.repeat(since - np.cumsum(n_lines) + n_lines, n_lines)
    left = 0.5 ** ((day[at][row] - day[line]) / options["half_life_days"])
    is_known = item[line] >= 0
    habits = csr_matrix((left[is_known], (row[is_known], item[line][is_known])), shape)
    return Queries(marked(is_context_item), habits), marked(~is_context_item), user[at] % HELD_OUT == 0


def first_weights(n_items: int, wanted: csr_matrix) -> dict[str, jax.Array]:
    """Small random weights; the odds start as how often an item is wanted."""
    draws = np.random.default_rng(SEED)
    shapes = {"cart": (n_items, N_HIDDEN), "habit": (n_items, N_HIDDEN), "out": (N_HIDDEN, n_items)}
    weights = {name: draws.normal(0, 0.02, shape) for name, shape in shapes.items()}
    weights |= {"gain": np.ones(N_HIDDEN), "shift": np.zeros(N_HIDDEN), "own": np.ones(n_items)}
    weights |= {"new": np.array([0.0, 0.7]), "known": np.array([2.0, 0.1])}
    weights["popular"] = np.log(np.asarray(wanted.sum(axis=0)).ravel() + 0.5)
    return {name: jnp.asarray(values, jnp.float32) for name, values in weights.items()}


def forward(weights: dict[str, jax.Array], cart: jax.Array, habit: jax.Array, kept: jax.Array | float = 1.0):
    """Log-odds of every item; kept: which hidden units take part, scaled."""
    hidden = cart @ weights["cart"] + habit @ weights["habit"]
    hidden = jax.nn.standardize(hidden, axis=1)  # eps inside the root: of nobody's cart too
    hidden = jax.nn.relu(hidden * weights["gain"] + weights["shift"]) * kept
    # An item that the shopper has bought before is told by the habit more than by what all others buy.
    (new, new_popular), (known, known_popular) = weights["new"], weights["known"]
    popular = weights["popular"]
    wide = jnp.where(habit > 0, known + known_popular * popular + weights["own"] * habit, new + new_popular * popular)
    return hidden @ weights["out"] + wide


def loss(weights: dict[str, jax.Array], cart, habit, wanted, kept=1.0) -> jax.Array:
    """Minus the mean logarithm of the share that the odds give to what was wanted, each basket counting once."""
    each = wanted / jnp.maximum(wanted.sum(axis=1, keepdims=True), 1)
    return -(each * jax.nn.log_softmax(forward(weights, cart, habit, kept))).sum(axis=1).mean()


def network(questions: Queries, wanted: csr_matrix, is_held_out: np.ndarray, n_items: int) -> dict[str, jax.Array]:
    """The weights that told the held-out baskets best."""
    draws = np.random.default_rng(SEED)
    rows, held_out = np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
    steps = optax.adamw(STEP)
    weights = best = first_weights(n_items, wanted[rows])
    state, lowest, waited = steps.init(weights), np.inf, 0

    @jax.jit
    def step(weights, state, cart, habit, wanted, kept):
        change, state = steps.update(jax.grad(loss)(weights, cart, habit, wanted, kept), state, weights)
        return optax.apply_updates(weights, change), state

    def batches(chosen: np.ndarray):
        for first in range(0, len(chosen), BATCH):
            batch = chosen[first : first + BATCH]
            yield *questions.rows(batch), wanted[batch].toarray().astype(np.float32)

    evaluated = jax.jit(loss)
    for _ in range(MOST_ROUNDS):
        for cart, habit, target in batches(draws.permutation(rows)):
            kept = (draws.random((len(cart), N_HIDDEN)) >= DROPOUT).astype(np.float32) / (1 - DROPOUT)
            weights, state = step(weights, state, cart, habit, target, kept)
        missed = sum(float(evaluated(weights, *batch)) * len(batch[0]) for batch in batches(held_out))
        if missed < lowest:
            best, lowest, waited = weights, missed, 0
        elif (waited := waited + 1) == PATIENCE:
            break
    return best
