"""ExtraTrees: a forest of extremely randomised trees on reduced views, all candidates at once.

Geurts, Ernst and Wehenkel, "Extremely randomized trees" (Machine Learning 63, 2006). Candidates that were observed
on the same queries share a forest, whose leaves hold all their means; so no missing cell is ever filled in.
Training takes scikit-learn; forecasting takes numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Views
from routers.forest import Forest
from routers.reduced import Reduced
from routers.ridge import rows_of
from routers.split import grouped_folds
from routers.table import OutcomeTable


@dataclass(frozen=True, slots=True)
class TreesOptions:
    """Hyper-parameters; of several smallest leaves, grouped cross-validation chooses one."""

    trees: int = 100
    share: float = 1.0
    leaves: tuple[int, ...] = (5,)
    components: int = 64
    folds: int = 5


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """A forest for each set of candidates that were observed on the same queries; a `routers.headed.Head`."""

    algorithm: ClassVar[str] = "extra_trees"

    reduced: Reduced
    forests: tuple[Forest, ...]
    settings: Mapping[str, Any]

    @property
    def view_dims(self) -> Mapping[str, int]:
        return self.reduced.view_dims

    def quality(self, views: Views) -> Floats:
        features = _features(self.reduced, views)
        found = np.empty((len(features), sum(len(forest.columns) for forest in self.forests)))
        for forest in self.forests:
            found[:, forest.columns] = forest.mean(features)
        return found

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        stored: dict[str, NDArray[Any]] = dict(self.reduced.arrays())
        for number, forest in enumerate(self.forests):
            stored |= {f"forest{number}/{name}": array for name, array in forest.arrays().items()}
        return stored

    @classmethod
    def fit(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> Trees:
        return cls.fit_held_out(table, views, seed=seed)[0]

    @classmethod
    def fit_held_out(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> tuple[Trees, Floats]:
        """The head, and [n, K] forecasts of each row by a fit that did not see the row's group.

        Raises ValueError where scikit-learn is not installed.
        """
        options = TreesOptions()
        held_out = np.empty((len(options.leaves), *table.score.shape))
        for fold in grouped_folds(table.groups, options.folds, seed):
            known, hidden = rows_of(views, fold.train), rows_of(views, fold.test)
            reduced = Reduced.fit(known, components=options.components)
            features, asked = _features(reduced, known), _features(reduced, hidden)
            for place, leaf in enumerate(options.leaves):
                for forest in _grow(features, table.score[fold.train], (leaf, seed), options):
                    held_out[place][np.ix_(fold.test, forest.columns)] = forest.mean(asked)
        best = int(np.argmin(np.nanmean((held_out - table.score) ** 2, axis=(1, 2))))
        reduced = Reduced.fit(views, components=options.components)
        forests = _grow(_features(reduced, views), table.score, (options.leaves[best], seed), options)
        return cls(reduced, forests, asdict(options) | {"chosen_leaf": options.leaves[best]}), held_out[best]

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]
    ) -> Trees:
        reduced = Reduced.restore(arrays, view_dims)
        width = sum(view.axes.shape[1] for view in reduced.views)
        forests: list[Forest] = []
        while f"forest{len(forests)}/right" in arrays:
            prefix = f"forest{len(forests)}/"
            own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            forests.append(Forest.of_arrays(own))
            if forests[-1].feature.max() >= max(width, 1):
                raise ValueError(f"forest {len(forests) - 1} asks for a feature beyond {width}")
        columns = np.concatenate([forest.columns for forest in forests]) if forests else np.zeros(0)
        if not len(columns) or not np.array_equal(np.sort(columns), np.arange(len(columns))):
            raise ValueError("the forests do not know each candidate once")
        return cls(reduced, tuple(forests), settings)


def _features(reduced: Reduced, views: Views) -> NDArray[np.float32]:
    return reduced.rows(views).astype(np.float32)


def _grow(
    features: NDArray[np.float32], score: Floats, drawn: tuple[int, int], options: TreesOptions
) -> tuple[Forest, ...]:
    """One forest a set of candidates that share their observed rows; `drawn` is the smallest leaf and the seed."""
    try:
        ensemble = import_module("sklearn.ensemble")
    except ImportError as error:
        raise ValueError("growing trees takes scikit-learn: install loupe[science]") from error
    leaf, seed = drawn
    patterns: dict[bytes, list[int]] = {}
    observed = ~np.isnan(score)
    for column in range(score.shape[1]):
        patterns.setdefault(observed[:, column].tobytes(), []).append(column)
    forests = []
    for columns in patterns.values():
        rows = observed[:, columns[0]]
        if not rows.any():  # a fold hides all that a candidate showed
            forests.append(Forest.stump(columns, float(score[observed].mean())))
            continue
        known = score[rows][:, columns]
        grown = ensemble.ExtraTreesRegressor(
            options.trees, min_samples_leaf=leaf, max_features=options.share, random_state=seed
        ).fit(features[rows], known if len(columns) > 1 else known[:, 0])
        forests.append(Forest.build(columns, [tree.tree_ for tree in grown.estimators_]))
    return tuple(forests)
