"""Oracle upper bound for simulated users: posteriors from the simulator's own likelihoods.

Users' tastes and the targets of sessions are unknown, as they are to every method.
"""

import json
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from life_stage_demo.ages import AGES
from life_stage_demo.catalogue import Catalogue
from life_stage_demo.oracle import SessionViews, birth_prior, child_log_likelihood, posteriors, session_log_likelihood
from life_stage_demo.parameters import Parameters

TEMPERATURES = (0.4, 0.55, 0.7, 0.85, 1.0)  # below 1, because a user's sessions are correlated through tastes
SESSIONS = """
    with observed as (
        select user_no, session_id, month, item_no, term_no
        from stg_actions
        join evaluated using (user_id)
        left join catalogue_items using (item_id)
        left join catalogue_terms using (search_term)
        where session_id is not null
    )
    select
        dense_rank() over (order by user_no, session_id) - 1 as session_no,
        user_no,
        min(month) over (partition by user_no, session_id) as month,
        max(coalesce(term_no, -1)) over (partition by user_no, session_id) as term_no,
        item_no
    from observed
"""


def oracle_probabilities(
    source: Path, warehouse: Path, users: np.ndarray, spine: pd.DataFrame, stage_edges: list[int]
) -> list[np.ndarray]:
    """Stage probabilities (user-months x stages), one array per temperature.

    users: sorted ids; spine: columns user_id and month; stage_edges: ages in months.
    """
    facts = json.loads((source / "truth" / "parameters.json").read_text())
    parameters, start = Parameters(**facts["parameters"]), pd.Period(facts["start"], "M")
    catalogue = Catalogue(facts["seed"], parameters)
    views, sessions = sessions_of(warehouse, users, catalogue)
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


def sessions_of(warehouse: Path, users: np.ndarray, catalogue: Catalogue) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Distinct items of each session, and the sessions with their month and search term (-1: none)."""
    items = pd.DataFrame({"item_id": catalogue.item_id.astype(str), "item_no": np.arange(len(catalogue.item_id))})
    terms = pd.DataFrame({"search_term": catalogue.terms, "term_no": np.arange(len(catalogue.terms))})
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        connection.register("evaluated", pd.DataFrame({"user_id": users, "user_no": np.arange(len(users))}))
        connection.register("catalogue_items", items)
        connection.register("catalogue_terms", terms)
        rows = connection.sql(SESSIONS).df()
    sessions = rows.drop_duplicates("session_no").sort_values("session_no", ignore_index=True)
    views = rows.dropna(subset="item_no").drop_duplicates(["session_no", "item_no"])
    return views.sort_values(["session_no", "item_no"]), sessions


def months_since(start: pd.Period, months: pd.Series) -> np.ndarray:
    """Index of each month, 0 for the first simulated one."""
    return ((months.dt.year - start.year) * 12 + months.dt.month - start.month).to_numpy()
