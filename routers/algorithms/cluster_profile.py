"""Cluster profiles: describe a candidate by its scores on each kind of query, so a new one joins without retraining.

After UniRoute (Jitkrittum et al., "Universal Model Routing for Efficient LLM Inference", arXiv 2502.08773): queries
are clustered once, and a candidate is represented by its scores per cluster. UniRoute takes plain means; this router
takes posterior means (`routers.numeric.profiles`), so that 64 outcomes already tell more than their mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Forecast, Views
from routers.features.pca import sized
from routers.forecasting.calibration import QUALITY_FLOOR
from routers.forecasting.output_tokens import TokenHeads, log_tokens
from routers.numeric.clusters import Clusters
from routers.numeric.profiles import ProfilePrior
from routers.numeric.ridge import refuse_unteachable, rows_of
from routers.table.outcome_table import OutcomeTable, TableError
from routers.table.split import Rows, grouped_folds

COUNTS = (16, 48, 144)
TEMPERATURES = (0.1, 0.4)
DISCOUNTS = (1.0, 4.0, 12.0)
_FOLDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class CandidateFacts:
    """The learned profiles of the K candidates.

    Attributes:
        quality, quality_std: [C, K] expected scores on each cluster, and their standard deviations.
        token_logs: [C, K] expected logarithms of output tokens.
        tokens: converts logarithms to counts.
    """

    quality: Floats
    quality_std: Floats
    token_logs: Floats
    tokens: TokenHeads

    def beside(self, other: CandidateFacts) -> CandidateFacts:
        """Return the facts of these candidates followed by those of the other's candidates."""
        pairs = ((getattr(self.tokens, part.name), getattr(other.tokens, part.name)) for part in fields(TokenHeads))
        return CandidateFacts(
            quality=np.concatenate([self.quality, other.quality], axis=1),
            quality_std=np.concatenate([self.quality_std, other.quality_std], axis=1),
            token_logs=np.concatenate([self.token_logs, other.token_logs], axis=1),
            tokens=TokenHeads(*(np.concatenate(pair) for pair in pairs)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class ClusterProfile:
    """A trained router; implements `routers.registry.TrainedRouter`.

    Attributes:
        temperature: how soft memberships in clusters are.
        discount: the number of outcomes that together count as one, because outcomes in a table repeat each other.
        expected: the priors of a candidate not seen yet: of its scores, and of the logarithms of its output tokens.
    """

    algorithm: ClassVar[str] = "cluster_profile"

    candidates: tuple[str, ...]
    clusters: Clusters
    temperature: float
    discount: float
    known: CandidateFacts
    expected: tuple[ProfilePrior, ProfilePrior]
    encoder_digest: str = ""
    digest: str = ""

    @property
    def view_dims(self) -> Mapping[str, int]:
        return self.clusters.space.view_dims

    @property
    def settings(self) -> Mapping[str, Any]:
        return {
            "clusters": len(self.clusters.centres),
            "temperature": self.temperature,
            "discount": self.discount,
        }

    def forecast(self, views: Views) -> Forecast:
        members = self.clusters.memberships(views, self.temperature)
        mean, high = self.known.tokens.forecast(members @ self.known.token_logs)
        return Forecast(
            quality=np.clip(members @ self.known.quality, QUALITY_FLOOR, 1 - QUALITY_FLOOR),
            # The standard deviation of a sum is at most the sum of standard deviations: an upper bound, so safe.
            quality_std=np.minimum(members @ self.known.quality_std, 0.5),
            output_tokens=mean,
            output_tokens_high=high,
        )

    def with_candidate(self, name: str, views: Views, score: Floats, output_tokens: Floats) -> ClusterProfile:
        """Return this router with one more candidate, learned from n calibration queries; the others do not change.

        `views` are the views of the queries; `score` and `output_tokens` are [n], NaN where missing. 64 queries that
        cover what users ask are a beginning, 400 are as good as training. Raises TableError for a name that is known
        already and for fewer than two observations of scores or of tokens, ValueError where lengths disagree.
        """
        if name in self.candidates:
            raise TableError(f"candidate {name!r} is known already")
        members = self.clusters.memberships(views, self.temperature)
        if score.shape != (len(members),) or output_tokens.shape != (len(members),):
            raise ValueError(f"{len(members)} queries, scores {score.shape}, output tokens {output_tokens.shape}")
        for what, values in (("score", score), ("output token count", output_tokens)):
            if (~np.isnan(values)).sum() < 2:
                raise TableError(f"candidate {name!r} has fewer than two observed {what}s")
        logs = np.log(np.maximum(output_tokens, 1.0))[:, None]
        held_out = _held_out_of_one(self.expected[1], members, logs)
        added = _known(self.expected, members, (score[:, None], logs), held_out)
        return replace(self, candidates=(*self.candidates, name), known=self.known.beside(added), digest="")

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every numeric part by name, as the artifact's `.npz` stores them."""
        stored = {name: getattr(self.known, name) for name in ("quality", "quality_std", "token_logs")}
        stored |= {part.name: getattr(self.known.tokens, part.name) for part in fields(TokenHeads)}
        for name, prior in zip(("score", "token"), self.expected, strict=True):
            stored |= {f"expected/{name}_mean": prior.mean, f"expected/{name}_covariance": prior.covariance}
        noises = np.array([prior.noise for prior in self.expected])
        return {**self.clusters.arrays(), **stored, "expected/noises": noises}

    @classmethod
    def restore(cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], digest: str) -> ClusterProfile:
        """Return the router of an artifact's header and arrays. Raises KeyError or ValueError where they disagree."""
        candidates, clusters = tuple(header["candidates"]), Clusters.restore(arrays, header["view_dims"])
        count, width = len(clusters.centres), len(candidates)
        profiles = {name: sized(arrays, name, (count, width)) for name in ("quality", "quality_std", "token_logs")}
        noises = sized(arrays, "expected/noises", (2,)).tolist()
        score, token = (
            ProfilePrior(
                mean=sized(arrays, f"expected/{name}_mean", (count,)),
                covariance=sized(arrays, f"expected/{name}_covariance", (count, count)),
                noise=noise,
            )
            for name, noise in zip(("score", "token"), noises, strict=True)
        )
        return cls(
            candidates=candidates,
            clusters=clusters,
            temperature=float(header["hyper_parameters"]["temperature"]),
            discount=float(header["hyper_parameters"]["discount"]),
            known=CandidateFacts(**profiles, tokens=TokenHeads.restore(arrays, width)),
            expected=(score, token),
            encoder_digest=header["encoder"]["digest"],
            digest=digest,
        )

    @classmethod
    def fit(cls, table: OutcomeTable, views: Views, *, encoder_digest: str = "", seed: int = 0) -> ClusterProfile:
        """Learn from a table and its queries' views. Raises TableError for a table that cannot teach."""
        refuse_unteachable(table)
        logs = log_tokens(table)
        (level, temperature, discount), token_held_out = _choose(table, views, logs, seed)
        clusters = Clusters.fit(views, (COUNTS[level],))
        members = clusters.memberships(views, temperature)
        score, token = ProfilePrior.fit(members, table.score), ProfilePrior.fit(members, logs)
        return cls(
            candidates=table.candidates,
            clusters=clusters,
            temperature=temperature,
            discount=discount,
            known=_known(
                (score.tempered(discount), token.tempered(discount)), members, (table.score, logs), token_held_out
            ),
            # Calibration queries are few and differ: they repeat each other less than a table's rows do.
            expected=(score.tempered(discount**0.5), token.tempered(discount**0.5)),
            encoder_digest=encoder_digest,
        )


def _known(
    expected: tuple[ProfilePrior, ProfilePrior], members: Floats, outcomes: tuple[Floats, Floats], held_out: Floats
) -> CandidateFacts:
    """Return the facts of candidates from outcomes: scores and log tokens [n, K].

    `held_out` [n, K] are held-out forecasts of the log tokens.
    """
    quality, tokens = (prior.posterior(members, values) for prior, values in zip(expected, outcomes, strict=True))
    return CandidateFacts(
        quality=quality.mean,
        quality_std=quality.std,
        token_logs=tokens.mean,
        tokens=TokenHeads.fit(members @ tokens.mean, held_out, outcomes[1]),
    )


def _choose(table: OutcomeTable, views: Views, logs: Floats, seed: int) -> tuple[tuple[int, float, float], Floats]:
    """Return the index in `COUNTS`, temperature and discount that have the least error on held-out groups.

    The second result is [n, K] logarithms of output tokens, each forecast without its row's group.
    """
    choices = list(product(range(len(COUNTS)), TEMPERATURES, DISCOUNTS))
    quality = np.empty((len(choices), *table.score.shape))
    tokens = np.empty_like(quality)
    for known, hidden, sides in _folds(table.groups, views, seed):
        for side, (near, far) in enumerate(sides):
            for held_out, outcomes in ((quality, table.score[known]), (tokens, logs[known])):
                prior = ProfilePrior.fit(near, outcomes)
                for place, discount in enumerate(DISCOUNTS, start=side * len(DISCOUNTS)):
                    held_out[place, hidden] = far @ prior.tempered(discount).posterior(near, outcomes).mean
    best = int(np.argmin(np.nanmean((quality - table.score) ** 2, axis=(1, 2))))
    return choices[best], tokens[best]


def _folds(
    groups: Sequence[str], views: Views, seed: int
) -> Iterator[tuple[Rows, Rows, Iterator[tuple[Floats, Floats]]]]:
    """Yield each fold's rows to learn from, its hidden rows, and the memberships of both kinds of row.

    The memberships come for each count of `COUNTS` and each temperature in turn.
    """
    for fold in grouped_folds(groups, _FOLDS, seed):
        known, hidden = rows_of(views, fold.train), rows_of(views, fold.test)
        clusters = Clusters.fit(known, COUNTS)
        sides = (
            (level.memberships(known, temperature), level.memberships(hidden, temperature))
            for level, temperature in product(map(clusters.level, range(len(COUNTS))), TEMPERATURES)
        )
        yield fold.train, fold.test, sides


def _held_out_of_one(prior: ProfilePrior, members: Floats, outcomes: Floats) -> Floats:
    """Return [n, 1] forecasts of one candidate's outcomes [n, 1], each from the outcomes of the other folds."""
    held_out, folds = np.empty_like(outcomes), np.arange(len(outcomes)) % _FOLDS
    for fold in range(_FOLDS):
        left_in = np.where((folds == fold)[:, None], np.nan, outcomes)
        held_out[folds == fold] = members[folds == fold] @ prior.posterior(members, left_in).mean
    return held_out
