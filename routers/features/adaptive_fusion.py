"""Adaptive fusion of MMR-Bench (arXiv 2601.17814): weighs the modalities of each query by their confidence.

A modality's confidence is half its nearness to the training mean's direction (its prototype) and half the length of
its vector before normalisation. The softmax of the confidences weighs the modalities. The product and the absolute
difference of text and image are appended where both are vectors of one space.

This differs from the published code in three ways. Prototypes, means and scales come from the training rows and never
from the batch. The length of a view that the encoder has already normalised tells nothing (its rounding errors are not
confidence), so its length counts one half. Modalities are concatenated, so towers of different widths can be fused
whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Views
from routers.features.pca import PcaMap, PcaView, sized, usual_views

# The softmax's inverse temperature, and the share of products and differences, as published.
_SHARPNESS, _SHARE = 5.0, 0.5
# Lengths that spread less than this share of their mean differ by rounding only.
_LEAST_SPREAD = 1e-3
_CROSSED = ("text", "image")
_CROSSING = "text*image"


@dataclass(frozen=True, slots=True, eq=False)
class Confidence:
    """The statistics that measure one view's confidence.

    Attributes:
        name: the view.
        prototype: [dimension], of length 1 (0 where no training row was present).
        length: (mean, spread) of the rows' lengths; a spread of 0 means that lengths tell nothing.
        usual: the mean confidence in training, which is used for an absent row.
    """

    name: str
    prototype: Floats
    length: tuple[float, float]
    usual: float = 0.5

    @classmethod
    def fit(cls, name: str, rows: NDArray[np.floating]) -> Confidence:
        present = np.asarray(rows[rows.any(axis=1)], dtype=np.float64)
        if not len(present):
            return cls(name, np.zeros(rows.shape[1]), (1.0, 0.0))
        lengths = np.linalg.norm(present, axis=1)
        mean, spread = float(lengths.mean()), float(lengths.std())
        centre = (present / lengths[:, None]).mean(axis=0)
        prototype = centre / max(float(np.linalg.norm(centre)), 1e-12)
        bare = cls(name, prototype, (mean, spread if spread > _LEAST_SPREAD * mean else 0.0))
        return cls(name, prototype, bare.length, float(bare.of(present).mean()))

    def of(self, rows: NDArray[np.floating]) -> Floats:
        """Return confidences [n], 0 to 1."""
        lengths = np.linalg.norm(np.asarray(rows, dtype=np.float64), axis=1)
        present = lengths > 0
        nearness = 0.5 + 0.5 * (rows @ self.prototype) / np.where(present, lengths, 1.0)
        mean, spread = self.length
        magnitude = _sigmoid((lengths - mean) / spread) if spread else np.full(len(lengths), 0.5)
        return np.where(present, 0.5 * nearness + 0.5 * magnitude, self.usual)


@dataclass(frozen=True, slots=True, eq=False)
class Interaction:
    """The product and the absolute difference of text and image, where both are vectors of one space.

    Attributes:
        means: [2, dimension] the means of text and image.
        scales: the scale of products and that of differences, which bring both to one mean squared length.
        reduced: maps products and differences, concatenated, to their principal components.
    """

    means: Floats
    scales: tuple[float, float]
    reduced: PcaView

    @classmethod
    def fit(cls, views: Views) -> Interaction | None:
        """Learn from training rows. Returns None where a view is missing, of another width, or never present."""
        if not all(name in views for name in _CROSSED) or views["text"].shape != views["image"].shape:
            return None
        text, image = (np.asarray(views[name], dtype=np.float64) for name in _CROSSED)
        both = text.any(axis=1) & image.any(axis=1)
        if not both.any():
            return None
        means = np.stack([text[both].mean(axis=0), image[both].mean(axis=0)])
        left, right = text[both] - means[0], image[both] - means[1]
        scales = (_length(left * right), _length(np.abs(left - right)))
        crossed = {_CROSSING: _beside(left, right, scales).astype(np.float32)}
        return cls(means, scales, PcaMap.fit(crossed, (_CROSSING,)).views[0])

    @property
    def view_dims(self) -> dict[str, int]:
        width: int = self.means.shape[1]
        return dict.fromkeys(_CROSSED, width)

    def rows(self, views: Views) -> Floats:
        """Return rows [n, width]; zeros for a query without text or without image."""
        text, image = (np.asarray(views[name], dtype=np.float64) for name in _CROSSED)
        if text.shape != image.shape or text.shape[1:] != self.means.shape[1:]:
            raise ValueError(f"views 'text' and 'image' are {text.shape} and {image.shape}, not {self.view_dims}")
        crossed = _beside(text - self.means[0], image - self.means[1], self.scales)
        crossed[~(text.any(axis=1) & image.any(axis=1))] = 0.0
        return self.reduced.apply({_CROSSING: crossed.astype(np.float32)})

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {**PcaMap((self.reduced,)).arrays(), "crossed_means": self.means, "scales": np.array(self.scales)}

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], width: int) -> Interaction:
        """Restore from arrays that `arrays` gave. Raises KeyError or ValueError where shapes disagree."""
        product, gap = (float(number) for number in sized(arrays, "scales", (2,)))
        reduced = PcaMap.restore(arrays, {_CROSSING: 2 * width}).views[0]
        return cls(sized(arrays, "crossed_means", (2, width)), (product, gap), reduced)


@dataclass(frozen=True, slots=True, eq=False)
class AdaptiveFusion:
    """A map from views of queries to rows in which each modality is weighted by its confidence."""

    reduced: PcaMap
    confidences: tuple[Confidence, ...]
    interaction: Interaction | None

    @classmethod
    def fit(cls, views: Views) -> AdaptiveFusion:
        """Learn from training rows. Raises KeyError for views of neither text nor image."""
        names = usual_views(views)
        return cls(
            reduced=PcaMap.fit(views, names),
            confidences=tuple(Confidence.fit(name, views[name]) for name in names),
            interaction=Interaction.fit(views),
        )

    @property
    def view_dims(self) -> dict[str, int]:
        crossed = {} if self.interaction is None else self.interaction.view_dims
        return {**self.reduced.view_dims, **crossed}

    def weights(self, views: Views) -> Floats:
        """Return weights [n, modalities]; each row sums to the number of modalities, so all 1 is equal fusion."""
        sure = np.stack([confidence.of(views[confidence.name]) for confidence in self.confidences], axis=1)
        raised = np.exp(_SHARPNESS * sure)
        return np.asarray(raised / raised.mean(axis=1, keepdims=True), dtype=np.float64)

    def rows(self, views: Views) -> Floats:
        """Return rows [n, D]. Raises KeyError for a missing view, ValueError for a wrong dimension."""
        parts = [view.apply(views) for view in self.reduced.views]
        weights = self.weights(views)
        weighed = [part * weights[:, [place]] for place, part in enumerate(parts)]
        if self.interaction is not None:
            weighed.append(_SHARE * self.interaction.rows(views))
        return np.concatenate(weighed, axis=1)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every numeric part, by name."""
        stored: dict[str, NDArray[Any]] = {**self.reduced.arrays()}
        for confidence in self.confidences:
            stored[f"prototype/{confidence.name}"] = confidence.prototype
            stored[f"confidence/{confidence.name}"] = np.array([*confidence.length, confidence.usual])
        if self.interaction is not None:
            stored |= self.interaction.arrays()
        return stored

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]) -> AdaptiveFusion:
        """Restore the fusion from arrays that `arrays` gave. Raises KeyError or ValueError where shapes disagree."""
        weighed = {name: size for name, size in view_dims.items() if f"prototype/{name}" in arrays}
        confidences = []
        for name, size in weighed.items():
            mean, spread, usual = (float(number) for number in sized(arrays, f"confidence/{name}", (3,)))
            confidences.append(Confidence(name, sized(arrays, f"prototype/{name}", (size,)), (mean, spread), usual))
        crossed = Interaction.restore(arrays, view_dims["image"]) if "crossed_means" in arrays else None
        return cls(PcaMap.restore(arrays, weighed), tuple(confidences), crossed)


def _beside(left: Floats, right: Floats, scales: tuple[float, float]) -> Floats:
    return np.concatenate([left * right / scales[0], np.abs(left - right) / scales[1]], axis=1)


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * values), dtype=np.float64)


def _length(rows: Floats) -> float:
    """Return the root of the mean squared length of rows; 1 where all rows are zero."""
    return float(np.sqrt((rows**2).sum(axis=1).mean())) or 1.0
