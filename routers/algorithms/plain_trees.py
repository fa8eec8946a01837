"""ExtraTrees on the views as they are alone, as a member of the ensemble: where rows are many and the picture decides,
single features of the image's tower tell more than what they have in common."""

from __future__ import annotations

from typing import ClassVar

from routers.algorithms.extra_trees import Trees, TreesOptions


class PlainTrees(Trees):
    """Implements `routers.forecasting.head.Head`; of the components, the fewest there can be are kept, and none is
    asked for.
    """

    algorithm: ClassVar[str] = "plain_trees"
    options: ClassVar[TreesOptions] = TreesOptions(most=120, work=600_000, plain=1.0, components=1)

    __slots__ = ()
