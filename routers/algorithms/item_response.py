"""Item response: a candidate has abilities; a query asks for some of the abilities and has a difficulty.

P(right) = sigmoid(strength[k] + ability[k] . discrimination(query) - difficulty(query)): the multidimensional
two-parameter logistic model, as IRT-Router applies it to routing (Song et al., arXiv 2506.01048). A query's
discrimination and difficulty are predicted linearly from its views, so that queries never seen have both. Abilities
and the two linear maps have Gaussian priors and are found together by maximum a posteriori (L-BFGS), from observed
cells only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Views
from routers.features.pca import PcaMap, sized
from routers.table.outcome_table import OutcomeTable
from routers.table.split import Rows, grouped_folds
from routers.table.weights import mean_square, rows_of_weights

Cells = tuple[Floats, Floats | None]
"""Scores [n, K], NaN where missing, and the weight of each score (None: all weights are equal)."""
Objective = Callable[[Floats], tuple[float, Floats]]


@dataclass(frozen=True, slots=True)
class ItemResponseOptions:
    """Hyper-parameters; grouped cross-validation chooses one of the penalties, tried from strong to weak.

    Attributes:
        dimensions: the dimensions of ability; never more than there are candidates.
        components: the number of principal components of each view.
        penalties: prior precisions of the maps' entries; abilities have precision 1.
        steps: L-BFGS steps for each penalty; the search starts where that of the stronger penalty ended.
        folds: the folds of grouped cross-validation.
    """

    dimensions: int = 4
    components: int = 64
    penalties: tuple[float, ...] = (1000.0, 300.0, 100.0, 30.0, 10.0)
    steps: int = 60
    folds: int = 5


@dataclass(frozen=True, slots=True, eq=False)
class Traits:
    """The learned parameters of the model.

    Attributes:
        strength: [K] logit on the average query.
        ability: [K, r].
        discrimination: [D, r] maps features to the abilities that a query asks for.
        difficulty: [D] maps features to a query's difficulty, in logits.
    """

    strength: Floats
    ability: Floats
    discrimination: Floats
    difficulty: Floats

    def logits(self, features: Floats) -> Floats:
        """Return logits [n, K] of features [n, D]."""
        asked = features @ self.discrimination
        return self.strength + asked @ self.ability.T - (features @ self.difficulty)[:, None]

    def flat(self) -> Floats:
        """Return all parameters as one vector."""
        return np.concatenate([getattr(self, part.name).ravel() for part in fields(self)])

    def shaped(self, numbers: Floats) -> Traits:
        """Return traits of these shapes, filled from a vector as `flat` returns it."""
        parts, start = {}, 0
        for part in fields(self):
            like = getattr(self, part.name)
            parts[part.name] = numbers[start : start + like.size].reshape(like.shape)
            start += like.size
        return Traits(**parts)


@dataclass(frozen=True, slots=True, eq=False)
class ItemResponse:
    """Implements `routers.forecasting.head.Head`."""

    algorithm: ClassVar[str] = "item_response"

    space: PcaMap
    traits: Traits
    settings: Mapping[str, Any]

    @property
    def view_dims(self) -> Mapping[str, int]:
        return self.space.view_dims

    def quality(self, views: Views) -> Floats:
        return _sigmoid(self.traits.logits(self.space.rows(views)))

    def difficulty(self, views: Views) -> Floats:
        """Return [n] logits that a query takes from every candidate alike; 0 for the average query."""
        return np.asarray(self.space.rows(views) @ self.traits.difficulty, dtype=np.float64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {**self.space.arrays(), **{part.name: getattr(self.traits, part.name) for part in fields(Traits)}}

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]
    ) -> ItemResponse:
        space = PcaMap.restore(arrays, view_dims)
        width = sum(view.axes.shape[1] for view in space.views)
        candidates, dimensions = arrays["ability"].shape
        shapes = {
            "strength": (candidates,),
            "ability": (candidates, dimensions),
            "discrimination": (width, dimensions),
            "difficulty": (width,),
        }
        traits = Traits(**{name: sized(arrays, name, shape) for name, shape in shapes.items()})
        return cls(space=space, traits=traits, settings=settings)

    @classmethod
    def fit(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> ItemResponse:
        return cls.fit_held_out(table, views, seed=seed)[0]

    @classmethod
    def fit_held_out(
        cls, table: OutcomeTable, views: Views, *, seed: int = 0, options: ItemResponseOptions | None = None
    ) -> tuple[ItemResponse, Floats]:
        """Return the head, and [n, K] forecasts of each row by a fit that did not see the row's group."""
        options, weights = options or ItemResponseOptions(), table.unequal_weights

        def known_cells(rows: Rows) -> Cells:
            return table.score[rows], rows_of_weights(weights, rows)

        held_out = np.empty((len(options.penalties), *table.score.shape))
        for fold in grouped_folds(table.groups, options.folds, seed):
            known = {name: rows[fold.train] for name, rows in views.items()}
            space = PcaMap.fit(known, components=options.components)
            hidden = space.rows({name: rows[fold.test] for name, rows in views.items()})
            path = _path(space.rows(known), known_cells(fold.train), options)
            for place, traits in enumerate(path):
                held_out[place, fold.test] = _sigmoid(traits.logits(hidden))
        best = int(np.argmin(mean_square(held_out, table.score, weights)))
        space = PcaMap.fit(views, components=options.components)
        shortened = replace(options, penalties=options.penalties[: best + 1])
        path = _path(space.rows(views), (table.score, weights), shortened)
        settings = asdict(options) | {"chosen_penalty": options.penalties[best]}
        return cls(space=space, traits=list(path)[-1], settings=settings), held_out[best]


def _path(features: Floats, cells: Cells, options: ItemResponseOptions) -> Iterator[Traits]:
    """Yield the traits of each penalty in turn."""
    minimize = import_module("scipy.optimize").minimize  # heavy, and needed for training only
    traits = _start(features.shape[1], cells[0], options.dimensions)
    for penalty in options.penalties:
        found = minimize(
            objective(features, cells, traits, penalty),
            traits.flat(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": options.steps},
        )
        traits = traits.shaped(found.x)
        yield traits


def objective(features: Floats, cells: Cells, shape: Traits, penalty: float) -> Objective:
    """Return a function of flat traits (`Traits.flat`, of this shape): negative log posterior and its gradient."""
    score, weights = cells
    observed = ~np.isnan(score)
    counted = observed.astype(np.float64) if weights is None else weights
    filled = np.where(observed, score, 0.0)

    def value_and_slope(numbers: Floats) -> tuple[float, Floats]:
        traits = shape.shaped(numbers)
        logits = traits.logits(features)
        losses = np.logaddexp(0.0, logits) - filled * logits
        maps = (traits.discrimination**2).sum() + (traits.difficulty**2).sum()
        value = (counted * losses).sum() + penalty / 2 * maps + (traits.ability**2).sum() / 2
        miss = counted * (_sigmoid(logits) - filled)
        asked = features @ traits.discrimination
        slope = Traits(
            strength=miss.sum(axis=0),
            ability=miss.T @ asked + traits.ability,
            discrimination=features.T @ (miss @ traits.ability) + penalty * traits.discrimination,
            difficulty=penalty * traits.difficulty - features.T @ miss.sum(axis=1),
        )
        return float(value), slope.flat()

    return value_and_slope


def _start(width: int, score: Floats, dimensions: int) -> Traits:
    """Return where the search starts: strengths from mean scores, abilities from how candidates' outcomes covary."""
    observed = ~np.isnan(score)
    counts = observed.sum(axis=0)
    means = (np.where(observed, score, 0.0).sum(axis=0) + 0.5) / (counts + 1)
    residuals = np.where(observed, score - means, 0.0)
    axes = np.linalg.eigh(residuals.T @ residuals)[1][:, ::-1]
    dimensions = min(dimensions, len(means))
    return Traits(
        strength=np.log(means / (1 - means)),
        ability=axes[:, :dimensions] * np.sqrt(len(means) / dimensions),
        discrimination=np.zeros((width, dimensions)),
        difficulty=np.zeros(width),
    )


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(0.5 + 0.5 * np.tanh(logits / 2), dtype=np.float64)
