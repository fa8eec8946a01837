"""Small trained routers on disk, for an encoder of one's choice and with means of one's choice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from models.base import Encoder
from routers.algorithms.best_single import BestSingle
from routers.artifact import Provenance, save
from routers.forecasting.head import HeadAlgorithm
from routers.table.outcome_table import OutcomeTable
from tests.fakes.encoder import FakeEncoder

ROWS = 40


def written_artifact(folder: Path, means: Mapping[str, float], encoder: Encoder | None = None) -> str:
    """A router that forecasts these mean scores whatever the query; its digest. By default for the fake encoder."""
    encoder = encoder or FakeEncoder()
    random = np.random.default_rng(0)
    dims = {**encoder.text_dims, **encoder.image_dims}
    views = {name: random.standard_normal((ROWS, width)).astype(np.float32) for name, width in dims.items()}
    shape = (ROWS, len(means))
    table = OutcomeTable(
        query_ids=tuple(f"q{row}" for row in range(ROWS)),
        groups=tuple(f"g{row}" for row in range(ROWS)),
        questions=tuple(f"question {row}" for row in range(ROWS)),
        image_paths=(None,) * ROWS,
        candidates=tuple(means),
        score=np.tile(np.array(list(means.values())), (ROWS, 1)),
        output_tokens=np.exp(random.normal(3.5, 0.2, shape)).round(),
        cost_usd=np.full(shape, 1e-3),
    )
    router = HeadAlgorithm(BestSingle).fit(table, views, encoder_digest=encoder.digest)
    return save(router, folder, Provenance(encoder.name, table.digest))
