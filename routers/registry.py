"""Every algorithm that can be trained and loaded: one file and one line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self

from numpy.typing import NDArray

from routers.base import Router, Views
from routers.linear_mf import LinearMF
from routers.table import OutcomeTable


class TrainedRouter(Router, Protocol):
    """A router that was trained here: it can be learned, written down and restored."""

    algorithm: ClassVar[str]

    @property
    def settings(self) -> Mapping[str, Any]:
        """Hyper-parameters, those chosen too; fit for JSON."""
        ...

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Everything numeric, by name."""
        ...

    @classmethod
    def fit(cls, table: OutcomeTable, views: Views, *, encoder_digest: str = "", seed: int = 0) -> Self:
        """Learn from a table and its queries' views. Raises TableError for a table that cannot teach."""
        ...

    @classmethod
    def restore(cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], digest: str) -> Self:
        """The router of a header and arrays. Raises KeyError or ValueError where they disagree."""
        ...


ALGORITHMS: Mapping[str, type[TrainedRouter]] = {
    LinearMF.algorithm: LinearMF,
}
