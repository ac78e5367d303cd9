"""Simulation by chunks of users: a chunk depends on the seed alone, so results do not depend on the processes."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from .actions import IDS_PER_CHUNK, action_table, make_actions
from .activity import draw_sessions, first_spells, next_spells
from .catalogue import Catalogue
from .dirt import dirty_rows
from .families import make_families, register, true_children
from .months import month_text
from .parameters import Parameters
from .sessions import TARGET_NAMES, make_sessions
from .streams import DIRT, FAMILIES, MONTH, stream

USERS_PER_CHUNK = 2_500
FIRST_USER_ID = 10_000_001


@dataclass(frozen=True)
class Run:
    """Arguments of a simulation; its month numbers are start .. start + n_months - 1."""

    n_users: int
    start: int
    n_months: int
    seed: int
    parameters: Parameters
    with_truth_actions: bool = False


@dataclass
class Chunk:
    """Results of a chunk: tables by month text, and its families."""

    actions: dict[str, pa.Table]
    truth_actions: dict[str, pa.Table]
    children: dict[str, np.ndarray]
    registered: dict[str, np.ndarray]
    users: dict[str, np.ndarray]


@lru_cache(maxsize=1)
def catalogue_of(seed: int, parameters: Parameters) -> Catalogue:
    """The catalogue of a seed, built once per process."""
    return Catalogue(seed, parameters)


def simulate_chunk(run: Run, chunk: int) -> Chunk:
    """Simulate users chunk * USERS_PER_CHUNK .. of the run, month by month."""
    users = np.arange(chunk * USERS_PER_CHUNK, min(run.n_users, (chunk + 1) * USERS_PER_CHUNK)) + FIRST_USER_ID
    catalogue = catalogue_of(run.seed, run.parameters)
    rng = stream(run.seed, chunk, FAMILIES)
    families = make_families(rng, users, run.start, run.parameters)
    children = true_children(rng, families)
    registered = register(rng, children, run.parameters)
    spells = first_spells(rng, len(users), run.parameters)
    actions, truth = {}, {}
    for month in range(run.start, run.start + run.n_months):
        rng = stream(run.seed, chunk, MONTH, month)
        spells = next_spells(rng, spells, month, run.parameters)
        user = draw_sessions(rng, families, spells, month, run.parameters)
        sessions = make_sessions(rng, user, families, spells, month, catalogue, run.parameters)
        columns = make_actions(rng, sessions, families, month, chunk, catalogue, run.parameters)
        actions[month_text(month)] = action_table(_with_dirt(run, chunk, month, columns), catalogue)
        if run.with_truth_actions:
            truth[month_text(month)] = _truth_table(columns)
    facts = {
        "user_id": users,
        "nephew_birth_month": families.nephew_birth,
        "sessions_per_month": families.rate,
    }
    return Chunk(actions, truth, children, registered, facts)


def _with_dirt(run: Run, chunk: int, month: int, columns: dict) -> dict[str, np.ndarray]:
    """The month's rows, followed by the invalid ones."""
    if len(columns["action_id"]) > IDS_PER_CHUNK * 0.9:
        raise OverflowError(f"over {IDS_PER_CHUNK} actions of one chunk in {month_text(month)}: reduce the rates")
    dirt = dirty_rows(stream(run.seed, chunk, DIRT, month), columns, run.parameters.dirty_share)
    return {name: np.concatenate([values, dirt[name]]) for name, values in columns.items()}


def _truth_table(columns: dict[str, np.ndarray]) -> pa.Table:
    """One row per valid action: the target of its session; target_age_months is null for no child."""
    target, age = columns["target"], columns["target_age"]
    names = np.array([TARGET_NAMES[code] for code in range(-3, 4)])[target + 3]
    return pa.table(
        {
            "action_id": columns["action_id"],
            "target": names,
            "child_no": pa.array(target, type=pa.int32(), mask=target <= 0),
            "target_age_months": pa.array(age, type=pa.int32(), mask=age >= 10**6),
        }
    )


def simulate(run: Run, jobs: int) -> Iterator[Chunk]:
    """All chunks in order, with at most two per job in memory."""
    chunks = range(-(-run.n_users // USERS_PER_CHUNK))
    if jobs <= 1 or len(chunks) == 1:
        yield from (simulate_chunk(run, chunk) for chunk in chunks)
        return
    with ProcessPoolExecutor(jobs) as pool:
        running = deque()
        for chunk in chunks:
            running.append(pool.submit(simulate_chunk, run, chunk))
            if len(running) >= 2 * jobs:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
