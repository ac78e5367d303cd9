"""Formula of the birth-month filter for one user, over fixed birth months: an independent implementation."""

import numpy as np


class Divisions:
    """Age bins and stages, as rows (name, from_month, to_month) in age order."""

    def __init__(self, bins: list[tuple], stages: list[tuple]) -> None:
        self.bins, self.starts, self.ends = map(list, zip(*bins, strict=True))
        self.stages = stages
        self.centres = (np.array(self.starts) + np.array(self.ends) - 1) / 2
        self.first, self.last = self.stages[0][1], self.ends[-1] - 1
        self.outputs = [f"p_{stage}" for stage, _, _ in self.stages]
        self.outputs += ["not_yet_expecting_probability", "graduated_probability"]
        self.outputs += [
            "expected_age",
            "youngest_age",
            "oldest_age",
            "months_until_next_stage",
            "log_marginal_likelihood",
        ]

    @classmethod
    def of(cls, shop) -> "Divisions":
        """The divisions of a warehouse."""
        bins = shop.query("select age_bin, from_month, to_month from age_bins order by bin_no")
        return cls(bins, shop.query("select stage, from_month, to_month from stages order by stage_no"))


def log_likelihood_at(ages: np.ndarray, e: np.ndarray, d: Divisions) -> np.ndarray:
    """One month's log-likelihood at these ages: interpolated within the grid, that of the outer bins outside."""
    return np.select([ages < d.first, ages > d.last], [e[0], e[-1]], np.interp(ages, d.centres, e))


def start_prior(shares: np.ndarray, d: Divisions) -> np.ndarray:
    """The initial prior of a new user: not yet, one share per age of the grid, graduated."""
    density = shares / (np.array(d.ends) - np.array(d.starts))
    ages = np.arange(d.first, d.last + 1)
    prior = np.array([shares[0], *density[np.searchsorted(d.ends, ages, side="right")], density[-1]])
    return prior / prior.sum()


def older(prior: np.ndarray, hazard: float) -> np.ndarray:
    """The prior a month later: all ages shift by one, new pregnancies enter at the hazard rate."""
    return np.array([prior[0] * (1 - hazard), prior[0] * hazard, *prior[1:-2], prior[-2] + prior[-1]])


def prior_after(tenure: int, shares: np.ndarray, hazard: float, d: Divisions) -> np.ndarray:
    """The prior so many months after the user was first seen."""
    prior = start_prior(shares, d)
    for _ in range(tenure):
        prior = older(prior, hazard)
    return prior


def posterior(log_likelihood: dict, month: int, readouts: tuple, shares: np.ndarray, d: Divisions) -> tuple:
    """Prior, scaled log-likelihoods and posterior of one user in a month, each over not yet, the ages, graduated."""
    tau, gamma, delta, hazard = readouts
    tenure = month - min(log_likelihood)
    prior = prior_after(tenure, shares, hazard, d)
    births = np.arange(month - d.last - tenure, month - d.first + 1)[::-1]  # youngest first, as numbers of months
    total = sum(log_likelihood_at(m - births, e, d) for m, e in log_likelihood.items() if m <= month)
    never = sum(e[0] for m, e in log_likelihood.items() if m <= month)
    past = sum(e[-1] for m, e in log_likelihood.items() if m <= month)
    n_cells = d.last - d.first + 1  # earlier births have left the grid: the likeliest of them represents all
    C = np.array([never, *total[:n_cells], max([past, *total[n_cells:]])])
    scaled = tau * max(1, sum(m <= month for m in log_likelihood)) ** -gamma * C
    weights = np.exp(scaled - scaled.max()) * prior
    return prior, scaled, (1 - delta) * weights / weights.sum() + delta * prior


def published_row(log_likelihood: dict, month: int, readouts: tuple, shares: np.ndarray, d: Divisions) -> np.ndarray:
    """One user's published row of a month, from the log-likelihoods {month: e} of all months up to it."""
    prior, scaled, P = posterior(log_likelihood, month, readouts, shares, d)
    weights = np.exp(scaled - scaled.max()) * prior
    ages = np.arange(d.first, d.last + 1)
    masks = [(ages >= low) & (ages < high) for _, low, high in d.stages]
    p = np.array([P[1:-1][mask].sum() for mask in masks])
    dated = weights[1:-1]
    younger = np.cumsum(dated) / dated.sum()
    graduated = P[-1] + P[1:-1][ages >= d.stages[-1][2]].sum()
    has_birth_month = P[0] <= 0.5 and graduated <= 0.5
    quantiles = [ages[np.searchsorted(younger, share)] if has_birth_month else np.nan for share in (0.5, 0.1, 0.9)]
    stage = p.argmax()  # the younger of equal ones
    left = np.average(d.stages[stage][2] - ages[masks[stage]], weights=dated[masks[stage]])
    log_marginal_likelihood = scaled.max() + np.log(weights.sum())
    return np.array([*p / p.sum(), P[0], graduated, *quantiles, left, log_marginal_likelihood])
