"""Cross-fitted networks, one per fold: unseen groups decide when training stops; forecasts are the members' average.

These are cross-validated committees (Parmanto et al., "Improving Committee Diagnosis with Resampling Techniques", NIPS
1995): every row teaches all members but one, no row is lost to early stopping, the average has a smaller error than a
member, and forecasts of held-out groups need no further training. All folds share the weight decay and the number of
epochs that have the least held-out loss over all folds, because the choice of one fold alone would depend on chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from routers.base import Floats
from routers.features.pca import sized
from routers.numeric.network import Adam, Array, Network, Parameters, Tokens, masked_loss, sigmoid, start
from routers.table.outcome_table import OutcomeTable
from routers.table.split import Split, grouped_folds
from routers.table.summary import column_means


@dataclass(frozen=True, slots=True)
class CrossFitSettings:
    """The training settings of networks; the held-out loss chooses one of the decays.

    Decays are strong, because a table has only a few hundred queries: a matrix forgets what it learned in about
    1 / (rate * decay) steps, and a network that forgot everything forecasts the candidates' means.
    """

    decays: tuple[float, ...] = (1.0, 3.0, 10.0)
    folds: int = 5
    rate: float = 3e-3
    batch: int = 64
    epochs: int = 40
    patience: int = 6


@dataclass(frozen=True, slots=True, eq=False)
class CrossFittedNetworks:
    """Trained networks, one per fold, whose forecasts are averaged as probabilities."""

    network: Network
    parameters: Parameters

    def quality(self, inputs: Sequence[Floats]) -> Floats:
        """Return [n, K] expected scores, 0 to 1."""
        logits, _ = self.network.forward(self.parameters, _narrow(inputs))
        return np.asarray(sigmoid(logits).mean(axis=0), dtype=np.float64)

    @classmethod
    def restore(cls, network: Network, arrays: Mapping[str, Array]) -> CrossFittedNetworks:
        """Return the networks of their parameters; other arrays are ignored.

        Raises KeyError or ValueError where shapes disagree.
        """
        members = len(arrays[next(iter(network.shapes))])
        shapes = network.shapes.items()
        return cls(network, {name: sized(arrays, name, (members, *shape)) for name, shape in shapes})


@dataclass(frozen=True, slots=True, eq=False)
class CrossFitResult:
    """The result of training: the cross-fitted networks, [n, K] held-out forecasts, and the chosen settings."""

    committee: CrossFittedNetworks
    held_out: Floats
    chosen: Mapping[str, Any]


def school(
    network: Network, inputs: Sequence[Floats], table: OutcomeTable, schooling: CrossFitSettings, *, seed: int
) -> CrossFitResult:
    """Train one network per fold on the table's observed cells. `inputs` are [n, width] each."""
    folds = tuple(grouped_folds(table.groups, schooling.folds, seed))
    course = _Course(network, _narrow(inputs), table, schooling, folds=folds)
    best = course.run(seed)
    place = int(np.argmin([loss for loss, _, _ in best]))
    _, epoch, parameters = best[place]
    held_out = np.full(table.score.shape, np.nan)
    for member, fold in enumerate(folds):
        held_out[fold.test] = course.forecast(_member(parameters, slice(member, member + 1)), fold)[0]
    chosen = {"decay": schooling.decays[place], "epochs": epoch, "members": len(folds)}
    return CrossFitResult(CrossFittedNetworks(network, parameters), held_out, chosen)


class _Course:
    """One run of training: all members [decay, fold] are trained together, on the same batches."""

    def __init__(
        self,
        network: Network,
        inputs: Tokens,
        table: OutcomeTable,
        schooling: CrossFitSettings,
        *,
        folds: tuple[Split, ...],
    ) -> None:
        self._network, self._inputs, self._folds, self._schooling = network, inputs, folds, schooling
        # Batches are drawn from the queries sorted by id, so that the order of the table's rows has no effect.
        self._rows = np.argsort(np.array(table.query_ids))
        self._observed = table.mask.astype(np.float32)
        self._score = np.where(table.mask, table.score, 0.0).astype(np.float32)
        taught = np.ones((len(folds), len(table)), dtype=np.float32)
        for member, fold in enumerate(folds):
            taught[member, fold.test] = 0.0
        self._taught = np.tile(taught, (len(schooling.decays), 1))

    def run(self, seed: int) -> list[tuple[float, int, Parameters]]:
        """Return for each decay the least held-out loss, its epoch, and the members' parameters at that epoch."""
        decays, members = self._schooling.decays, len(self._folds)
        parameters = self._begin(seed)
        adam = Adam.of(parameters, self._schooling.rate, np.repeat(decays, members).astype(np.float32))
        random = np.random.default_rng(seed)
        best = [(np.inf, 0, parameters)] * len(decays)
        for epoch in range(1, self._schooling.epochs + 1):
            self._epoch(parameters, adam, random)
            for place, loss in enumerate(self._held_out_losses(parameters)):
                if loss < best[place][0]:
                    own = _member(parameters, slice(place * members, (place + 1) * members))
                    best[place] = (loss, epoch, {name: values.copy() for name, values in own.items()})
            if epoch - max(when for _, when, _ in best) >= self._schooling.patience:
                break
        return best

    def forecast(self, parameters: Parameters, fold: Split) -> Array:
        """Return forecasts [members, test rows of the fold, K]."""
        logits, _ = self._network.forward(parameters, tuple(part[fold.test] for part in self._inputs))
        return sigmoid(logits)

    def _begin(self, seed: int) -> Parameters:
        """Return the starting parameters: members forecast the candidates' means in their training rows.

        All decays start from the same parameters, so that they differ in nothing else.
        """
        parameters = start(self._network, len(self._folds), seed)
        score = np.where(self._observed > 0, self._score, np.nan)
        means = np.clip([column_means(score[fold.train]) for fold in self._folds], 0.02, 0.98)
        parameters["out_weights"][:] = 0.0
        parameters["out_bias"][:] = np.log(means / (1 - means))
        decays = len(self._schooling.decays)
        return {name: np.concatenate([values] * decays) for name, values in parameters.items()}

    def _epoch(self, parameters: Parameters, adam: Adam, random: np.random.Generator) -> None:
        order = random.permutation(self._rows)
        for begin in range(0, len(order), self._schooling.batch):
            rows = order[begin : begin + self._schooling.batch]
            logits, trace = self._network.forward(parameters, tuple(part[rows] for part in self._inputs))
            weight = self._observed[rows] * self._taught[:, rows, None]
            _, slope = masked_loss(logits, self._score[rows], weight)
            adam.move(parameters, self._network.backward(parameters, trace, slope))

    def _held_out_losses(self, parameters: Parameters) -> list[float]:
        """Return [decays] the mean loss over all held-out cells."""
        members, totals = len(self._folds), np.zeros(len(self._schooling.decays))
        for member, fold in enumerate(self._folds):
            own = _member(parameters, slice(member, None, members))
            logits, _ = self._network.forward(own, tuple(part[fold.test] for part in self._inputs))
            weight = self._observed[fold.test][None]
            totals += masked_loss(logits, self._score[fold.test], weight)[0] * float(weight.sum())
        return [float(total) for total in totals / self._observed.sum()]


def _member(parameters: Parameters, which: slice) -> Parameters:
    return {name: values[which] for name, values in parameters.items()}


def _narrow(inputs: Sequence[Floats]) -> Tokens:
    return tuple(part.astype(np.float32) for part in inputs)
