"""ExtraTrees: a forest of extremely randomised trees that forecasts all candidates at once.

Two thirds of the trees are grown on the views' principal components, one third on the views as they are. Geurts, Ernst
and Wehenkel, "Extremely randomized trees" (Machine Learning 63, 2006). Candidates that were observed on the same
queries share a forest, whose leaves hold the means of all of them; so no missing cell is ever filled in. Training needs
scikit-learn; forecasting needs numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Views
from routers.features.pca import PcaMap
from routers.numeric.forest import Forest, MergedForest, Tree
from routers.numeric.ridge import rows_of
from routers.table.outcome_table import OutcomeTable
from routers.table.split import grouped_folds

_CHUNK = 1024  # rows whose features are in memory together


@dataclass(frozen=True, slots=True)
class TreesOptions:
    """Hyper-parameters.

    Attributes:
        most: the largest number of trees. A table of more than `work / most` rows gets fewer trees, because its trees
            are larger: each knows more, takes longer to grow and needs more disk space.
        work: the largest number of trees times rows.
        plain: the share of the trees that is grown on the views as they are, not on their components.
        leaf: the least number of rows in a leaf.
        reduced_share, plain_share: the share of the features that is tried for a split, of components and of views.
        components: the number of principal components of each view.
        folds: the folds of grouped cross-validation; its forests have half the trees.
    """

    most: int = 180
    work: int = 900_000
    plain: float = 1 / 3
    leaf: int = 5
    reduced_share: float = 1.0
    plain_share: float = 0.2
    components: int = 64
    folds: int = 5

    def trees(self, rows: int) -> int:
        """Return the number of trees for a table of this many rows; at least 12, unless `most` is less."""
        return min(max(self.work // rows, 12), self.most)


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """A forest for each set of candidates that were observed on the same queries; a `routers.forecasting.head.Head`.

    Example:
        >>> import numpy as np
        >>> from routers.registry import ALGORITHMS
        >>> from routers.table.outcome_table import OutcomeTable
        >>> rows = range(24)
        >>> table = OutcomeTable(
        ...     query_ids=tuple(f"query {row}" for row in rows),
        ...     groups=tuple(f"group {row // 8}" for row in rows),
        ...     questions=tuple("chart" if row % 2 else "greeting" for row in rows),
        ...     image_paths=(None,) * 24,
        ...     candidates=("small", "large"),
        ...     score=np.array([[0.8, 0.9], [0.2, 0.9]] * 12),  # "small" fails on charts
        ...     output_tokens=np.full((24, 2), 80.0),
        ...     cost_usd=np.full((24, 2), [0.001, 0.01]),
        ... )
        >>> views = {"text": np.array([[1, 0], [0, 1]] * 12, dtype=np.float32)}
        >>> router = ALGORITHMS["extra_trees"].fit(table, views)
        >>> router.forecast(views).quality[:2].round(1).tolist()  # a greeting, then a chart
        [[0.8, 0.9], [0.2, 0.9]]
    """

    algorithm: ClassVar[str] = "extra_trees"
    options: ClassVar[TreesOptions] = TreesOptions()

    reduced: PcaMap
    grove: MergedForest
    settings: Mapping[str, Any]

    @property
    def view_dims(self) -> Mapping[str, int]:
        return self.reduced.view_dims

    def quality(self, views: Views) -> Floats:
        return _forecast(self.reduced, self.grove, views)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        stored: dict[str, NDArray[Any]] = dict(self.reduced.arrays())
        for number, forest in enumerate(self.grove.forests):
            stored |= {f"forest{number}/{name}": array for name, array in forest.arrays().items()}
        return stored

    @classmethod
    def fit(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> Self:
        return cls.fit_held_out(table, views, seed=seed)[0]

    @classmethod
    def fit_held_out(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> tuple[Self, Floats]:
        """Return the head, and [n, K] forecasts of each row by a fit that did not see the row's group.

        Raises ValueError where scikit-learn is not installed.
        """
        options = cls.options
        held_out = np.empty(table.score.shape)
        count = options.trees(len(table))
        for fold in grouped_folds(table.groups, options.folds, seed):
            known = rows_of(views, fold.train)
            reduced = PcaMap.fit(known, components=options.components)
            cells = table.score[fold.train], table.weights[fold.train]
            grove = _grow(reduced, known, cells, (options, count // 2, seed))
            held_out[fold.test] = _forecast(reduced, grove, rows_of(views, fold.test))
        reduced = PcaMap.fit(views, components=options.components)
        grove = _grow(reduced, views, (table.score, table.weights), (options, count, seed))
        return cls(reduced, grove, asdict(options) | {"trees": count}), held_out

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]
    ) -> Self:
        reduced = PcaMap.restore(arrays, view_dims)
        width = sum(sum(view.axes.shape) for view in reduced.views)
        forests: list[Forest] = []
        while f"forest{len(forests)}/right" in arrays:
            prefix = f"forest{len(forests)}/"
            own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            forests.append(Forest.of_arrays(own))
        grove = MergedForest.of(forests)
        if grove.width > max(width, 1):
            raise ValueError(f"the forests ask for a feature beyond {width}")
        return cls(reduced, grove, settings)


def _forecast(reduced: PcaMap, grove: MergedForest, views: Views) -> Floats:
    """Return [n, K] forecasts, computed in chunks of rows."""
    parts = []
    for start in range(0, max(len(next(iter(views.values()))), 1), _CHUNK):
        parts.append(
            grove.mean(_features(reduced, {name: rows[start : start + _CHUNK] for name, rows in views.items()}))
        )
    return np.concatenate(parts)


def _features(reduced: PcaMap, views: Views) -> NDArray[np.float32]:
    """Return [n, D]: principal components, then the views as they are; an absent row is set to the training mean."""
    parts = [reduced.rows(views).astype(np.float32)]
    for view in reduced.views:
        rows = np.asarray(views[view.name])
        parts.append(np.where(rows.any(axis=1, keepdims=True), rows, view.mean).astype(np.float32))
    return np.concatenate(parts, axis=1)


def _grow(
    reduced: PcaMap, views: Views, cells: tuple[Floats, Floats], how: tuple[TreesOptions, int, int]
) -> MergedForest:
    """Grow one forest per set of candidates that share their observed rows and weights.

    `how` is (options, number of trees, seed).
    """
    score, weights = cells
    features = _features(reduced, views)
    plain = sum(view.axes.shape[1] for view in reduced.views)
    patterns: dict[bytes, list[int]] = {}
    observed = weights > 0
    for column in range(score.shape[1]):
        patterns.setdefault(weights[:, column].tobytes(), []).append(column)
    forests = []
    for columns in patterns.values():
        rows = observed[:, columns[0]]
        counted = weights[rows, columns[0]]
        if not rows.any():  # a fold hides all outcomes of a candidate
            forests.append(Forest.stump(columns, float(score[observed].mean())))
            continue
        known = score[np.ix_(rows, np.asarray(columns))]
        trees, starts = [], []
        on_plain = round(how[0].plain * how[1])
        for part, share, start, count in (
            (features[rows, :plain], how[0].reduced_share, 0, how[1] - on_plain),
            (features[rows, plain:], how[0].plain_share, plain, on_plain),
        ):
            if part.shape[1] and count:
                grown = _fitted(part, (known, counted), (how[0].leaf, share, count, how[2]))
                trees.extend(grown)
                starts.extend([start] * len(grown))
        forests.append(Forest.build(columns, trees, starts))
    return MergedForest.of(forests)


def _fitted(
    features: NDArray[np.float32], cells: tuple[Floats, Floats], how: tuple[int, float, int, int]
) -> list[Tree]:
    try:
        ensemble = import_module("sklearn.ensemble")
    except ImportError as error:
        raise ValueError('growing trees takes scikit-learn: pip install "loupe-gateway[science]"') from error
    leaf, share, count, seed = how
    forest = ensemble.ExtraTreesRegressor(count, min_samples_leaf=leaf, max_features=share, random_state=seed)
    score, counted = cells
    weights = None if (counted == 1).all() else counted
    forest.fit(features, score if score.shape[1] > 1 else score[:, 0], sample_weight=weights)
    return [tree.tree_ for tree in forest.estimators_]


class PlainTrees(Trees):
    """ExtraTrees on the views as they are only, for the ensemble; implements `routers.forecasting.head.Head`.

    Where rows are many and the image decides, single features of the image encoder tell more than their principal
    components. The least number of components (one per view) is kept, and no tree is grown on them.
    """

    algorithm: ClassVar[str] = "plain_trees"
    options: ClassVar[TreesOptions] = TreesOptions(most=120, work=600_000, plain=1.0, components=1)

    __slots__ = ()
