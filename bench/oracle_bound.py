"""Oracle upper bound for simulated users: posteriors from the simulator's own likelihoods.

Users' tastes and the targets of sessions are unknown, as they are to every method.
"""

import json
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from harness import queries

from life_stage_demo.ages import AGES
from life_stage_demo.catalogue import Catalogue
from life_stage_demo.oracle import SessionViews, birth_prior, child_log_likelihood, posteriors, session_log_likelihood
from life_stage_demo.parameters import Parameters

TEMPERATURES = (0.4, 0.55, 0.7, 0.85, 1.0)  # below 1, because a user's sessions are correlated through tastes


def oracle_probabilities(
    source: Path, connection: duckdb.DuckDBPyConnection, users: np.ndarray, spine: pd.DataFrame, stage_edges: list[int]
) -> list[np.ndarray]:
    """Stage probabilities (user-months x stages), one array per temperature.

    users: sorted ids; spine: columns user_id and month; stage_edges: ages in months.
    """
    facts = json.loads((source / "truth" / "parameters.json").read_text())
    parameters, start = Parameters(**facts["parameters"]), pd.Period(facts["start"], "M")
    catalogue = Catalogue(facts["seed"], parameters)
    views, sessions = sessions_of(connection, users, catalogue)
    observed = SessionViews(
        views["session_no"].to_numpy(), views["item_no"].to_numpy(int), sessions["term_no"].to_numpy()
    )
    log_p = child_log_likelihood(session_log_likelihood(observed, catalogue, parameters), parameters)
    now, then = months_since(start, spine["month"]), months_since(start, sessions["month"])
    user, births = np.searchsorted(users, spine["user_id"]), birth_prior(parameters)[0]
    ages = np.minimum(now[:, None] - births[None, :], AGES[-1])
    found = []
    for temperature in TEMPERATURES:
        posterior = posteriors(
            sessions["user_no"].to_numpy(), then, log_p, len(users), facts["months"], parameters, temperature
        )[now, user]
        masses = [(posterior * ((ages >= low) & (ages < high))).sum(axis=1) for low, high in pairwise(stage_edges)]
        found.append(np.stack(masses, axis=1) / np.maximum(sum(masses), 1e-12)[:, None])
    return found


def sessions_of(
    connection: duckdb.DuckDBPyConnection, users: np.ndarray, catalogue: Catalogue
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Distinct items of each session, and the sessions with their month and search term (-1: none)."""
    evaluated = pd.DataFrame({"user_id": users}).rename_axis("user_no").reset_index()
    items = pd.DataFrame({"item_id": catalogue.item_id.astype(str)}).rename_axis("item_no").reset_index()
    terms = pd.DataFrame({"search_term": catalogue.terms}).rename_axis("term_no").reset_index()
    for name, frame in {"evaluated": evaluated, "catalogue_items": items, "catalogue_terms": terms}.items():
        connection.register(name, frame)
    rows = connection.sql(queries("truth")["sessions"]).df()
    sessions = rows.drop_duplicates("session_no").sort_values("session_no", ignore_index=True)
    views = rows.dropna(subset="item_no").drop_duplicates(["session_no", "item_no"])
    return views.sort_values(["session_no", "item_no"]), sessions


def months_since(start: pd.Period, months: pd.Series) -> np.ndarray:
    """Index of each month, 0 for the first simulated one."""
    return ((months.dt.year - start.year) * 12 + months.dt.month - start.month).to_numpy()
