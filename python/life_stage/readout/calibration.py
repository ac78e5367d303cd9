"""Training, step 3: calibration of the posterior readout on users who trained no part of the log-likelihood.

First the plain readout, by a grid; with enough users then all weights of the readout, by L-BFGS, with a penalty on the
distance from the plain readout. A share of the registered birthdays is wrong, so the likelihood of a registered stage
mixes its posterior with its prior.
"""

from itertools import product

import numpy as np
from scipy.optimize import minimize

from life_stage.filtering.birth_months import softmax
from life_stage.readout.readout import BANDS, TERMS, Readouts, ReadoutSettings, ReadoutWeights
from life_stage.training.regression import use_one_thread

TAUS = (0.35, 0.5, 0.7, 0.85, 1.0, 1.15, 1.3, 1.5, 1.75, 2.1, 2.6, 3.3)
GAMMAS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75)
DELTAS = (0.003, 0.01, 0.02, 0.03, 0.06)
UNCALIBRATED = ReadoutSettings(1.0, 0.0, min(DELTAS))
NOISE = 0.04  # expected share of wrong registrations
NOISE_USERS = 200  # its weight, in users
MAX_ITERATIONS = 120
COVERAGE = 0.8  # of the interval of the birth month
MIN_GROUP = 200  # readouts that determine an interval
# Penalties, per user: on the differences between neighbouring bins, on biases, on everything else.
SMOOTHNESS, SIZE, DISTANCE = 12.5, 2.5, 1.0


def log_loss(probability: np.ndarray, readouts: Readouts, noise: float = 0.0) -> float:
    """Mean of log_losses."""
    return float(log_losses(probability, readouts, noise).mean())


def log_losses(probability: np.ndarray, readouts: Readouts, noise: float = 0.0) -> np.ndarray:
    """Negative logarithm of the registered stage's probability (readouts x stages), of which `noise` are wrong."""
    prior = readouts.prior[:, : probability.shape[1]]
    registered = (np.arange(len(readouts)), readouts.stage)
    by_chance = prior[registered] / prior.sum(axis=1)
    return -np.log((1 - noise) * probability[registered] + noise * by_chance)


def calibration_error(probability: np.ndarray, stage: np.ndarray) -> float:
    """Expected calibration error: mean gap between confidence and accuracy, in 15 bins of confidence."""
    confidence, right = probability.max(axis=1), probability.argmax(axis=1) == stage
    bins = np.minimum((confidence * 15).astype(int), 14)
    gaps = np.bincount(bins, weights=right, minlength=15) - np.bincount(bins, weights=confidence, minlength=15)
    return float(np.abs(gaps).sum() / len(stage))


def best_settings(readouts: Readouts, noise: float = NOISE) -> ReadoutSettings:
    """The plain readout with the least log-loss, on a grid. All readouts need a true stage."""
    losses, n_bins = {}, len(readouts.ages.bins)
    for tau, gamma in product(TAUS, GAMMAS):
        masses = readouts.masses(readouts.posterior(ReadoutWeights.plain(ReadoutSettings(tau, gamma), n_bins)))
        for delta in DELTAS:
            probability = readouts.in_stages(masses, delta)
            losses[ReadoutSettings(tau, gamma, delta)] = log_loss(probability, readouts, noise)
    return min(losses, key=losses.__getitem__)


def best_probabilities(readouts: Readouts) -> np.ndarray:
    """readouts x stages by the best plain readout: its three settings are fitted on the readouts themselves."""
    return readouts.probabilities(ReadoutWeights.plain(best_settings(readouts), len(readouts.ages.bins)))


def noise_of(readouts: Readouts, settings: ReadoutSettings) -> float:
    """Share of wrong registrations among the users, by EM on the newest readout of each: a birth month is either
    distributed as the posterior or, if the registration is wrong, as the prior.
    """
    newest = readouts[readouts.months.first_of_users + readouts.months.counts - 1]
    posterior = newest.posterior(ReadoutWeights.plain(settings, len(newest.ages.bins)))
    age = newest.months.age
    cell = np.clip(age - newest.ages.first + 1, 0, posterior.shape[1] - 1)
    registered = (np.arange(len(newest)), cell)
    ratio = posterior[registered] / np.exp(newest.log_prior[registered])
    noise = NOISE
    for _ in range(100):
        wrong = noise / (noise + (1 - noise) * ratio)
        noise = (wrong.sum() + NOISE * NOISE_USERS) / (len(newest) + NOISE_USERS)
    return float(noise)


def fit(readouts: Readouts, settings: ReadoutSettings, noise: float, with_bias: bool = True) -> ReadoutWeights:
    """The readout weights with the least penalised log-loss. All readouts need a true stage.

    with_bias: False keeps all biases at 0.
    """
    n_bins, n_stages, n_terms = len(readouts.ages.bins), len(readouts.ages.stages), len(TERMS)
    n_users = len(readouts.months.counts)
    centre, spread = readouts.terms.mean(axis=0), readouts.terms.std(axis=0)
    centre[0], spread[0], spread[spread < 1e-9] = 0.0, 1.0, 1.0  # below: the rounding error of a constant term
    # Single precision for speed; losses are in double precision.
    terms = ((readouts.terms - centre) / spread).astype(np.float32)
    total = (readouts.total - readouts.total.max(axis=1, keepdims=True)).astype(np.float32)
    of_activity, log_prior = readouts.activity.astype(np.float32), readouts.log_prior.astype(np.float32)
    inside = slice(readouts.stage_slices[0].start, readouts.stage_slices[-1].stop)
    inner = readouts.bins[inside]  # bins outside the stages have no bias
    first, starts = inner[0], np.flatnonzero(np.diff(inner, prepend=-1))
    columns = np.arange(total.shape[1])
    low, high = np.array([[of.start, of.stop] for of in readouts.stage_slices])[readouts.stage].T
    own = (columns >= low[:, None]) & (columns < high[:, None])
    prior = readouts.prior[:, :n_stages]
    own_prior, inside_prior = prior[np.arange(len(readouts)), readouts.stage], prior.sum(axis=1)
    shape = (n_terms, 2 + len(starts))

    plain = ReadoutWeights.plain(settings, n_bins)
    origin = np.zeros(shape)
    for column, weights in enumerate((plain.log_tau, plain.logit_delta)):
        origin[:, column] = weights * spread
        origin[0, column] += (weights * centre)[1:].sum()

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        kappa, weights = parameters[0], parameters[1:].reshape(shape)
        away, bias = weights[:, :2] - origin[:, :2], weights[:, 2:]
        tau = np.exp(terms @ weights[:, 0].astype(np.float32))
        delta = 1 / (1 + np.exp(-np.clip(terms @ weights[:, 1], -30, 30)))
        logits = tau[:, None] * total + np.float32(kappa) * of_activity + log_prior
        logits[:, inside] += (terms @ bias.astype(np.float32))[:, inner - first]
        posterior = softmax(logits)
        own_mass, inside_mass = (
            (posterior * own).sum(axis=1, dtype=float),
            posterior[:, inside].sum(axis=1, dtype=float),
        )
        whole = (1 - delta) * inside_mass + delta * inside_prior
        probability = ((1 - delta) * own_mass + delta * own_prior) / whole
        mixed = (1 - noise) * probability + noise * own_prior / inside_prior
        slope = -(1 - noise) / mixed / whole / len(readouts)
        # Gradient by logit: the posterior times its distance from the means under stage and under all stages.
        posterior *= (slope * (1 - delta)).astype(np.float32)[:, None]
        gradient = posterior * own - posterior * (own_mass - probability * inside_mass).astype(np.float32)[:, None]
        gradient[:, inside] -= posterior[:, inside] * probability.astype(np.float32)[:, None]
        by_bin = np.add.reduceat(gradient[:, inside], starts, axis=1)
        by_delta = slope * (own_prior - own_mass - probability * (inside_prior - inside_mass)) * delta * (1 - delta)
        found = np.column_stack(
            [terms.T @ ((gradient * total).sum(axis=1) * tau), terms.T @ by_delta, terms.T @ by_bin]
        )
        found = found.astype(float)
        jumps = np.diff(bias, axis=1)
        found[:, :2] += 2 * DISTANCE / n_users * away
        found[:, 2:] += 2 * SIZE / n_users * bias
        found[:, 2:-1] -= 2 * SMOOTHNESS / n_users * jumps
        found[:, 3:] += 2 * SMOOTHNESS / n_users * jumps
        found[:, 2:] *= with_bias
        of_kappa = float((gradient * of_activity).sum()) + 2 * DISTANCE / n_users * kappa
        penalty = SMOOTHNESS * (jumps**2).sum() + SIZE * (bias**2).sum() + DISTANCE * ((away**2).sum() + kappa**2)
        return float(-np.log(mixed).mean() + penalty / n_users), np.append(of_kappa, found)

    use_one_thread()
    limits = {"maxiter": MAX_ITERATIONS}
    found = minimize(loss, np.append(0.0, origin), jac=True, method="L-BFGS-B", options=limits).x
    weights = found[1:].reshape(shape) / spread[:, None]
    weights[0] -= centre[1:] @ weights[1:]
    bias = np.zeros((n_terms, n_bins))
    bias[:, first : first + len(starts)] = weights[:, 2:]
    return ReadoutWeights(weights[:, 0], weights[:, 1], float(found[0]), bias)


def interval_levels(readouts: Readouts, weights: ReadoutWeights) -> np.ndarray:
    """stages x bands of active months: half-widths h; the quantiles 0.5 - h to 0.5 + h hold 80 % of the birth months.

    By predicted stage; a band with too few readouts has that of the stage, or of all. All readouts need a true stage.
    """
    of_ages = readouts.posterior(weights)[:, 1:-1].astype(float)
    cumulative = of_ages.cumsum(axis=1) / of_ages.sum(axis=1, keepdims=True)
    age, index = readouts.months.age - readouts.ages.first, np.arange(len(readouts))
    younger = np.where(age > 0, cumulative[index, age - 1], 0.0)
    needed = np.maximum(np.maximum(0.5 - cumulative[index, age], younger - 0.5), 0.0)
    stage = readouts.probabilities(weights).argmax(axis=1)
    band = np.digitize(np.rint(np.exp(readouts.terms[:, TERMS.index("log_active_months")])), BANDS)
    levels = np.empty((len(readouts.ages.stages), len(BANDS) + 1))
    for s, b in np.ndindex(*levels.shape):
        groups = (needed[(stage == s) & (band == b)], needed[stage == s], needed)
        levels[s, b] = np.quantile(next((of for of in groups if len(of) >= MIN_GROUP), needed), COVERAGE)
    return levels
