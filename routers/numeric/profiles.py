"""Profiles: a candidate's mean outcome on each cluster of queries, and the prior for a candidate not seen yet.

outcome[i, k] = members[i] . profile[k] + noise, and profiles ~ N(mean, covariance): a Gaussian random-effects model,
whose mean and covariance are learned from the known candidates by expectation maximisation (Laird and Ware,
"Random-Effects Models for Longitudinal Data", Biometrics 1982). So a candidate with few outcomes is expected to be good
where similar candidates are good, and a candidate without outcomes is expected to be like the mean of all candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats

_STEPS = 6
# The prior variance of profiles, in shares of the outcomes' variance: of a profile as a whole, and of each cluster.
_WHOLE, _BY_CLUSTER = 0.5, 0.1
# The number of imagined candidates by which this prior counts.
_IMAGINED = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Profiles:
    """The profiles of K candidates on C clusters; mean and std are [C, K] each."""

    mean: Floats
    std: Floats


@dataclass(frozen=True, slots=True, eq=False)
class ProfilePrior:
    """The prior distribution of a candidate's profile.

    Attributes:
        mean: [C].
        covariance: [C, C].
        noise: the variance of one outcome around its profile.
    """

    mean: Floats
    covariance: Floats
    noise: float

    @classmethod
    def fit(cls, members: Floats, outcomes: Floats) -> ProfilePrior:
        """Learn from memberships [n, C] and outcomes [n, K], NaN where missing; at least one must be observed."""
        observed = ~np.isnan(outcomes)
        values = outcomes[observed]
        spread = max(float(values.var()), 1e-6)
        clusters = members.shape[1]
        start = spread * (_WHOLE * np.ones((clusters, clusters)) + _BY_CLUSTER * np.eye(clusters))
        prior = cls(mean=np.full(clusters, float(values.mean())), covariance=start, noise=spread)
        for _ in range(_STEPS):
            prior = prior._improved(members, outcomes, start)
        return prior

    def tempered(self, discount: float) -> ProfilePrior:
        """Return the prior for data in which `discount` outcomes together tell as much as one.

        Outcomes are discounted because variants of one template repeat each other.
        """
        return ProfilePrior(mean=self.mean, covariance=self.covariance, noise=discount * self.noise)

    def posterior(self, members: Floats, outcomes: Floats) -> Profiles:
        """Return the profiles of candidates with these outcomes [n, K], NaN where missing."""
        mean, std = np.empty((len(self.mean), outcomes.shape[1])), np.empty((len(self.mean), outcomes.shape[1]))
        for columns, rows in _patterns(outcomes):
            found, covariance = self._posterior(members[rows], outcomes[np.ix_(rows, columns)])
            mean[:, columns] = found
            std[:, columns] = np.sqrt(np.maximum(np.diag(covariance), 0.0))[:, None]
        return Profiles(mean=mean, std=std)

    def _posterior(self, members: Floats, outcomes: Floats) -> tuple[Floats, Floats]:
        """Return means [C, k], and the covariance [C, C] that is common to candidates observed on the same rows."""
        gram = members.T @ members / self.noise
        covariance = np.linalg.solve(np.eye(len(gram)) + self.covariance @ gram, self.covariance)
        surprise = members.T @ (outcomes - (members @ self.mean)[:, None]) / self.noise
        mean: Floats = self.mean[:, None] + covariance @ surprise
        return mean, np.asarray(covariance, dtype=np.float64)

    def _improved(self, members: Floats, outcomes: Floats, start: Floats) -> ProfilePrior:
        """Return the prior after one step of expectation maximisation; `start` is the initial covariance."""
        means, uncertain, misses, cells = [], np.zeros_like(start), 0.0, 0
        for columns, rows in _patterns(outcomes):
            near = members[rows]
            found, covariance = self._posterior(near, outcomes[np.ix_(rows, columns)])
            means.append(found)
            uncertain += len(columns) * covariance
            misses += float(((outcomes[np.ix_(rows, columns)] - near @ found) ** 2).sum())
            misses += len(columns) * float(((near @ covariance) * near).sum())
            cells += len(rows) * len(columns)
        together = np.concatenate(means, axis=1)
        mean = together.mean(axis=1)
        apart = together - mean[:, None]
        covariance = (apart @ apart.T + uncertain + _IMAGINED * start) / (together.shape[1] + _IMAGINED)
        return ProfilePrior(mean=mean, covariance=covariance, noise=max(misses / max(cells, 1), 1e-6))


def _patterns(outcomes: Floats) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Return (candidates, rows) for each set of candidates that were observed on the same rows."""
    alike: dict[bytes, list[int]] = {}
    observed = ~np.isnan(outcomes)
    for column in range(outcomes.shape[1]):
        alike.setdefault(observed[:, column].tobytes(), []).append(column)
    return [(np.array(columns), np.flatnonzero(observed[:, columns[0]])) for columns in alike.values()]
