"""Oracle upper bound for simulated one-child users: posterior over the birth month from the true likelihoods.

Known: p(leaf, item, term | age), the session model, the birth prior; the child's growth is marginalised. Unknown, as to
any method: the targets of sessions, the user's tastes, the duration of spells. Inactive months and repeated views of an
item have no likelihood.
"""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from .ages import AGES, N_ROWS, NO_AGE, age_row
from .catalogue import Catalogue
from .parameters import Parameters
from .sessions import seeming_age

TEMPERATURES = (0.4, 0.55, 0.7, 0.85, 1.0)  # below 1, because a user's sessions are correlated through tastes
SESSIONS = """
    create temp table observed as
    select
        dense_rank() over (order by evaluated.number, session_id) - 1 as session_no,
        evaluated.number as user_no,
        datediff('month', $start, min(month) over (partition by evaluated.number, session_id)) as month_no,
        max(coalesce(terms.number, -1)) over (partition by evaluated.number, session_id) as term_no,
        items.number as item_no
    from stg_actions
    join evaluated using (user_id)
    left join catalogue_items as items using (item_id)
    left join catalogue_terms as terms using (search_term)
    where session_id is not null
"""


@dataclass
class SessionViews:
    """Observations of sessions. view_session is ascending; leaves and items are catalogue indices.

    view_session, view_item: (n_views,) distinct items per session. term: (n_sessions,), -1 without a search.
    """

    view_session: np.ndarray
    view_item: np.ndarray
    term: np.ndarray


def session_log_likelihood(views: SessionViews, catalogue: Catalogue, parameters: Parameters) -> np.ndarray:
    """log p(session | target's table row), shape (n_sessions, N_ROWS), with the focus leaf marginalised."""
    log_leaf = np.log(catalogue.leaf_p).T
    stray = np.log1p(-parameters.focus_share) + log_leaf  # a view outside the focus
    bonus = np.logaddexp(0, np.log(parameters.focus_share) - stray)  # factor of a view inside it
    leaf = catalogue.item_leaf[views.view_item]
    total = np.zeros((len(views.term), N_ROWS))
    np.add.at(total, views.view_session, np.log(catalogue.items.p).T[views.view_item] + stray[leaf])
    pairs, counts = np.unique(np.stack([views.view_session, leaf]), axis=1, return_counts=True)
    session, leaf = pairs
    has_term = views.term >= 0
    focus = np.where(has_term, catalogue.term_leaf[views.term], -1)
    inside = counts[:, None] * bonus[leaf]
    known = has_term[session] & (focus[session] == leaf)
    total[session[known]] += inside[known]
    total[has_term] += log_leaf[focus[has_term]] + np.log(catalogue.search_terms.p + 1e-300).T[views.term[has_term]]
    open_pair = ~has_term[session]
    gain = np.ones((len(views.term), N_ROWS))  # 1 + sum over seen leaves of p(leaf) (factor - 1)
    np.add.at(gain, session[open_pair], np.exp(log_leaf[leaf[open_pair]]) * np.expm1(inside[open_pair]))
    total[~has_term] += np.log(gain[~has_term])
    return total


def child_log_likelihood(session_log_p: np.ndarray, parameters: Parameters) -> np.ndarray:
    """log p(session | age of the user's only child), shape (n_sessions, n_ages + 1).

    The last column is a child that is not yet expected.
    """
    top = session_log_p.max(axis=1, keepdims=True)
    p = np.exp(session_log_p - top)
    weight = np.interp(AGES, parameters.interest_ages, parameters.interest_weights)
    share = np.r_[weight / (weight + parameters.own_interest), 0.0]
    friend = (
        parameters.gift_spell_share
        * parameters.gift_spell_start
        / (parameters.gift_spell_start + parameters.gift_spell_end)
    )
    other = parameters.gift_share + friend + parameters.nephew_share * parameters.nephew_session_share
    gift_rows = np.arange(*parameters.gift_ages) - AGES[0]
    own = share * p + (1 - share) * p[:, [NO_AGE]]
    return top + np.log((1 - other) * own + other * p[:, gift_rows].mean(axis=1, keepdims=True))


def birth_prior(parameters: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """Birth months relative to the first simulated month, and their probabilities."""
    edges, shares = np.array(parameters.birth_edges), np.array(parameters.birth_shares)
    births = np.arange(edges[0], edges[-1])
    piece = np.searchsorted(edges, births, side="right") - 1
    return births, (shares / np.diff(edges))[piece]


def posteriors(
    user: np.ndarray,
    month: np.ndarray,
    log_p: np.ndarray,
    n_users: int,
    n_months: int,
    parameters: Parameters,
    temperature: float = 1.0,
) -> np.ndarray:
    """p(birth month | sessions up to each month), shape (n_months, n_users, n_births).

    user, month: (n_sessions,) indices from 0; log_p: child_log_likelihood. A temperature below 1 weakens each session,
    because tastes correlate a user's sessions.
    """
    births, prior = birth_prior(parameters)
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)  # growth is normal, so five nodes suffice
    start = np.log(prior) + np.log(weights / weights.sum())[:, None]
    carried = np.tile(start, (n_users, 1, 1))  # (n_users, n_nodes, n_births)
    result = np.empty((n_months, n_users, len(births)), dtype=np.float32)
    for now in range(n_months):
        here = month == now
        age = np.minimum(now - births, AGES[-1])
        seeming = seeming_age(age, parameters.growth_spread * nodes[:, None])
        column = np.where(age < AGES[0], NO_AGE, age_row(seeming))
        np.add.at(carried, user[here], temperature * log_p[here][:, column])
        p = np.exp(carried - carried.max(axis=(1, 2), keepdims=True)).sum(axis=1)
        result[now] = p / p.sum(axis=1, keepdims=True)
    return result


def stage_probabilities(
    source: Path, connection: duckdb.DuckDBPyConnection, spine: pd.DataFrame, stage_edges: list[int]
) -> list[np.ndarray]:
    """Stage probabilities (user-months x stages) of simulated users in a warehouse, one array per temperature.

    spine: columns user_id and month; stage_edges: ages in months.
    """
    facts = json.loads((source / "truth" / "parameters.json").read_text())
    parameters = Parameters(**facts["parameters"])
    catalogue, start = Catalogue(facts["seed"], parameters), np.datetime64(facts["start"], "M")
    users, user = np.unique(spine["user_id"], return_inverse=True)
    connection.register("evaluated", numbered("user_id", users))
    connection.register("catalogue_items", numbered("item_id", catalogue.item_id.astype(str)))
    connection.register("catalogue_terms", numbered("search_term", catalogue.terms))
    connection.execute(SESSIONS, {"start": start.astype("datetime64[D]").item()})
    sessions = "select distinct session_no, user_no, month_no, term_no from observed order by session_no"
    items = "select distinct session_no, item_no from observed where item_no is not null order by all"
    sessions, items = (connection.execute(sql).fetchnumpy() for sql in (sessions, items))
    views = SessionViews(items["session_no"], items["item_no"], sessions["term_no"])
    log_p = child_log_likelihood(session_log_likelihood(views, catalogue, parameters), parameters)
    now = (spine["month"].to_numpy().astype("datetime64[M]") - start).astype(int)
    ages = np.minimum(now[:, None] - birth_prior(parameters)[0][None, :], AGES[-1])
    of_sessions, shape = (sessions["user_no"], sessions["month_no"], log_p), (len(users), facts["months"], parameters)
    found = []
    for temperature in TEMPERATURES:
        posterior = posteriors(*of_sessions, *shape, temperature)[now, user]
        masses = [(posterior * ((ages >= low) & (ages < high))).sum(axis=1) for low, high in pairwise(stage_edges)]
        found.append(np.stack(masses, axis=1) / np.maximum(sum(masses), 1e-12)[:, None])
    return found


def numbered(column: str, values: np.ndarray) -> pd.DataFrame:
    """Values with their index, column `number`."""
    return pd.DataFrame({column: values, "number": np.arange(len(values))})
