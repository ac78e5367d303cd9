"""Formula of the birth-month filter for one user, over fixed birth months: an independent implementation."""

import numpy as np
import pandas as pd


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


class Readout:
    """Weights of one model's readout, from its rows of stage_coefficients; those of the plain one without such rows."""

    STORED = ("agreement", "sharpness", "volume", "unspecific_share", "purchase_share", "recent_share")
    TERMS = ("constant", "log_active_months", "log_inactive_months", *STORED)

    def __init__(self, rows: pd.DataFrame, d: Divisions) -> None:
        settings = rows[rows["parameter_type"] == "setting"].set_index("feature")["value"]
        self.hazard = settings["birth_hazard"]
        self.log_tau = dict.fromkeys(self.TERMS, 0.0) | {
            "constant": np.log(settings["tau"]),
            "log_active_months": -settings["gamma"],
        }
        self.logit_delta = dict.fromkeys(self.TERMS, 0.0) | {
            "constant": np.log(settings["delta"] / (1 - settings["delta"]))
        }
        self.bias = {(term, name): 0.0 for term in self.TERMS for name in d.bins}
        self.kappa, self.level, self.activity = 0.0, {}, None
        of_kind = {kind: of.set_index(["feature", "age_bin"])["value"] for kind, of in rows.groupby("parameter_type")}
        if "log_tau" in of_kind:
            self.log_tau = {term: of_kind["log_tau"][term, ""] for term in self.TERMS}
            self.logit_delta = {term: of_kind["logit_delta"][term, ""] for term in self.TERMS}
            self.bias |= of_kind["bias"].to_dict()
            self.kappa = of_kind["activity_weight"]["", ""]
            self.level = {feature: value for (feature, _), value in of_kind["interval_level"].items()}
            self.activity = of_kind["activity"].unstack()[d.bins]

    def parameters(self, terms: dict[str, float]) -> tuple[float, float]:
        """tau and delta."""
        tau = np.exp(sum(self.log_tau[term] * value for term, value in terms.items()))
        return tau, max(1 / (1 + np.exp(-sum(self.logit_delta[term] * value for term, value in terms.items()))), 0.003)

    def biases(self, terms: dict[str, float], d: Divisions) -> np.ndarray:
        """The bias of not yet, each age of the grid, graduated."""
        inner = [d.bins[np.searchsorted(d.ends, age, side="right")] for age in range(d.first, d.last + 1)]
        return np.array(
            [
                sum(self.bias[term, name] * value for term, value in terms.items())
                for name in (d.bins[0], *inner, d.bins[-1])
            ]
        )

    def of_activity(self, months: list[int], month: int, births: np.ndarray, d: Divisions, since: int = 0) -> tuple:
        """Sums over the months after the first, from the model's first month on: not yet, birth months, graduated."""
        total, never, past = np.zeros(len(births)), 0.0, 0.0
        for now in range(max(since, min(months) + 1), month + 1) if self.activity is not None else ():
            before = [m for m in months if m < now]
            gap = sum(now - max(before) - 1 >= limit for limit in (1, 2, 4, 7))
            rate = sum((len(before) + 1) / (now - min(months) + 2) >= limit for limit in (0.3, 0.55, 0.8))
            e = self.activity.loc[str(2 * (4 * gap + rate) + (now in months))].to_numpy()
            total += np.floor(1000 * log_likelihood_at(now - births, e, d) + 0.5) / 1000
            never, past = (sum_ + np.floor(1000 * of + 0.5) / 1000 for sum_, of in ((never, e[0]), (past, e[-1])))
        return total, never, past


def terms_of(log_likelihood: dict, month: int, largest: float, days: dict) -> dict[str, float]:
    """The terms of the readout; days: {month: (all, unspecific, purchases)}."""
    months = [m for m in log_likelihood if m <= month]
    n, peaks = len(months), sum(max(log_likelihood[m]) for m in months)
    all_days, unspecific, purchases = np.sum([days.get(m, (0.0, 0.0, 0.0)) for m in months], axis=0)
    stored = {
        "agreement": np.log(max(largest / max(peaks, 0.3), 0.02)),
        "sharpness": np.log(max(peaks, 0.1) / n + 0.05),
        "volume": np.log(all_days / n + 0.1),
        "unspecific_share": unspecific / (all_days + 1),
        "purchase_share": purchases / (all_days + 1),
        "recent_share": sum(m > month - 6 for m in months) / 6,
    }
    others = {"constant": 1.0, "log_active_months": np.log(n), "log_inactive_months": np.log1p(month - max(months))}
    return others | {name: float(np.float32(value)) for name, value in stored.items()}


def posterior(
    log_likelihood: dict, month: int, readout: Readout, shares: np.ndarray, d: Divisions, days: dict, since: int = 0
) -> tuple:
    """Prior, logits without it, posterior of one user in a month, each over not yet, the ages, graduated; and delta.

    days: {month: (all, unspecific, purchases)}; since: first month of the model.
    """
    tenure = month - min(log_likelihood)
    prior = prior_after(tenure, shares, readout.hazard, d)
    births = np.arange(month - d.last - tenure, month - d.first + 1)[::-1]  # youngest first, as numbers of months
    n_cells = d.last - d.first + 1  # earlier births have left the grid: the likeliest of them represents all

    def of_grid(total, never, past):
        return np.array([never, *total[:n_cells], max([past, *total[n_cells:]])])

    C = of_grid(
        sum(log_likelihood_at(m - births, e, d) for m, e in log_likelihood.items() if m <= month),
        sum(e[0] for m, e in log_likelihood.items() if m <= month),
        sum(e[-1] for m, e in log_likelihood.items() if m <= month),
    )
    terms = terms_of(log_likelihood, month, C.max(), days)
    tau, delta = readout.parameters(terms)
    months = [m for m in log_likelihood if m <= month]
    A = of_grid(*readout.of_activity(months, month, births, d, since))
    scaled = tau * C + readout.kappa * A + readout.biases(terms, d)
    weights = np.exp(scaled - scaled.max()) * prior
    return prior, scaled, (1 - delta) * weights / weights.sum() + delta * prior, delta


def published_row(
    log_likelihood: dict, month: int, readout: Readout, shares: np.ndarray, d: Divisions, days: dict, since: int
) -> np.ndarray:
    """One user's published row of a month, from the log-likelihoods {month: e} of all months up to it."""
    prior, scaled, P, _ = posterior(log_likelihood, month, readout, shares, d, days, since)
    weights = np.exp(scaled - scaled.max()) * prior
    ages = np.arange(d.first, d.last + 1)
    masks = [(ages >= low) & (ages < high) for _, low, high in d.stages]
    p = np.array([P[1:-1][mask].sum() for mask in masks])
    dated = weights[1:-1]
    younger = np.cumsum(dated) / dated.sum()
    graduated = P[-1] + P[1:-1][ages >= d.stages[-1][2]].sum()
    has_birth_month = P[0] <= 0.5 and graduated <= 0.5
    stage = p.argmax()  # the younger of equal ones
    band = sum(sum(m <= month for m in log_likelihood) >= limit for limit in (2, 4, 9))
    level = readout.level.get(f"{d.stages[stage][0]} {band}", 0.4)
    bounds = (0.5, 0.5 - level, 0.5 + level)
    quantiles = [ages[np.searchsorted(younger, share)] if has_birth_month else np.nan for share in bounds]
    left = np.average(d.stages[stage][2] - ages[masks[stage]], weights=dated[masks[stage]])
    log_marginal_likelihood = scaled.max() + np.log(weights.sum())
    return np.array([*p / p.sum(), P[0], graduated, *quantiles, left, log_marginal_likelihood])
