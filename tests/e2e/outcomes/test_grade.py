"""Answers that went through a real gateway, with their content kept, graded: the labels are the recorded outcomes."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.outcomes.log.schema import decisions_path
from routers.table.formats import read_table
from tests.e2e.harness.collecting import NAMES, yard
from tests.e2e.harness.pictures import data_url
from tests.e2e.harness.site import serving_gateway, settings_for
from tests.gateway.outcomes.log.made import rows


@pytest.mark.slow
def test_labels_of_a_gateways_answers_are_the_recorded_outcomes(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with yard(tmp_path / "source", 30) as there:
        wanted = {}
        raw = settings_for(tmp_path, there.url, content={"keep": True, "days": 1})
        with (
            serving_gateway(raw, tmp_path) as site,
            there.source.open(newline="", encoding="utf-8") as file,
        ):
            for row in csv.DictReader(file):
                parts = [{"type": "text", "text": row["question"]}]
                if row["img_path"]:
                    picture = (there.source.parent / row["img_path"]).read_bytes()
                    parts.append({"type": "image_url", "image_url": {"url": data_url(picture)}})  # type: ignore[dict-item]
                for name in NAMES:
                    reply = site.chat({"model": name, "messages": [{"role": "user", "content": parts}]})
                    assert reply.status == 200, reply
                    wanted[reply.headers["x-request-id"]] = float(row[f"{name}_correct"])
        store = tmp_path / "loupe.sqlite"
        assert main(["grade", "--store", str(store), "--answers", str(there.source)]) == 0
        found = dict(rows(decisions_path(store), "SELECT request_id, score FROM labels"))
        assert found == wanted
        assert len(found) == 90 and 0 < sum(found.values()) < 90
        out = tmp_path / "out"
        assert main(["table", "export", "--store", str(store), "--out", str(out), "--no-embeddings"]) == 0
        table = read_table(out)
        assert int(table.mask.sum()) == 90
        assert table.source is not None and {source for source in table.source.ravel() if source} == {
            *("grader:numeric@numeric/1", "grader:choice@choice/1", "grader:exact@exact/1")
        }
