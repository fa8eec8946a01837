"""A tenant's own decisions and its word on them, over HTTP; what operators keep, and how it is deleted."""

from __future__ import annotations

import hashlib
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.outcomes.label import LATEST_S, LONGEST_COMMENT, MOST_SOURCES
from gateway.outcomes.log.reader import logged_answers
from routers.table.formats import read_table
from routers.table.parquet import read_embedded
from tests.e2e.harness.pictures import data_url, picture
from tests.e2e.harness.scripted_provider import ScriptedProvider
from tests.e2e.harness.scripts import TEXT, answer, refuse
from tests.e2e.harness.site import KEY, OTHER_KEY, Answer, Site, serving_gateway, settings_for
from tests.fakes.encoder import FakeEncoder

ADMIN_KEY = "admin-of-the-decisions-0123456789"
PICTURE = picture(size=(640, 480), colour="teal")
QUESTION = "Is the confidential figure odd?"


def ask(text: str = QUESTION, **more: Any) -> dict[str, Any]:
    return {"model": "auto", "messages": [{"role": "user", "content": text}], "max_tokens": 50, **more}


def ask_of_picture(text: str = QUESTION, **more: Any) -> dict[str, Any]:
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": data_url(PICTURE)}}]
    return ask(**more) | {"messages": [{"role": "user", "content": parts}]}


def answered(site: Site, body: dict[str, Any] | None = None, key: str = KEY) -> str:
    """The id of a request that was served."""
    reply = site.chat(body or ask(), key=key)
    assert reply.status == 200, reply
    return reply.headers["x-request-id"]


def feedback(site: Site, request_id: str, score: object, key: str = KEY, **more: object) -> Answer:
    return site.call("POST", "/v1/feedback", {"request_id": request_id, "score": score, **more}, key=key)


def decision(site: Site, request_id: str, key: str = KEY) -> dict[str, Any]:
    found = site.call("GET", f"/v1/decisions/{request_id}", key=key)
    assert found.status == 200, found
    return dict(found.json)


@pytest.fixture
def keeping(provider: ScriptedProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A gateway whose operator opted to keep content."""
    monkeypatch.setenv("LOUPE_ADMIN_KEY", ADMIN_KEY)
    raw = settings_for(tmp_path, provider.url, content={"keep": True, "days": 1})
    with serving_gateway(raw, tmp_path) as found:
        yield found
        found.assert_no_trace()


def test_a_decision_shows_all_that_it_was_made_of(shared_site: Site) -> None:
    sent = shared_site.chat(ask_of_picture(), X_Budget="0.5")
    found = decision(shared_site, sent.headers["x-request-id"])
    assert (found["object"], found["candidate"], found["first_choice"], found["outcome"]) == (
        "decision",
        sent.headers["x-route-candidate"],
        "large",
        "ok",
    )
    assert (found["decided"], found["propensity"], found["uniform"]) == ("determined", 1.0, None)
    assert [each["candidate"] for each in found["candidates"]] == ["large", "middle", "small"]
    best = found["candidates"][0]
    assert (best["quality"], best["output_tokens"], best["dropped"]) == (0.9, 40, None)
    assert 0 < best["expected_cost_usd"] <= best["worst_cost_usd"] <= 0.5
    assert found["cost_usd"] == pytest.approx(float(sent.headers["x-route-cost"]))
    assert found["cap_usd"] == 0.5
    assert found["finish_reason"] == "stop"
    assert found["attempts"] == [{"candidate": "large", "failure": None, "cost_usd": found["cost_usd"]}]
    assert [len(found[f"{name}_digest"]) for name in ("encoder", "prices", "configuration")] == [64] * 3
    assert found["router_digest"]
    assert found["remaining_usd"] > 0
    assert 0 < found["first_byte_ms"] <= found["total_ms"]
    [image] = found["images"]
    assert (image["sha256"], image["width"], image["height"]) == (hashlib.sha256(PICTURE).hexdigest(), 640, 480)
    assert QUESTION not in str(found)


@pytest.mark.slow
def test_a_decision_is_its_tenants_own(shared_site: Site) -> None:
    request_id = answered(shared_site)
    assert decision(shared_site, request_id)["id"] == request_id
    for key, status in ((OTHER_KEY, 404), (None, 401), ("sk-nobody", 401)):
        refused = shared_site.call("GET", f"/v1/decisions/{request_id}", key=key)
        assert refused.status == status
        assert refused.error["code"] == ("not_found" if status == 404 else "invalid_api_key")


@pytest.mark.parametrize("name", ["req_1", "nonsense", "req_%F0%9F%8E%88", "%00", "a" * 500])
def test_an_id_that_is_none_is_not_found(shared_site: Site, name: str) -> None:
    assert shared_site.call("GET", f"/v1/decisions/{name}").error["code"] == "not_found"


def test_what_failed_before_and_what_served_is_told(site: Site, provider: ScriptedProvider) -> None:
    provider.on("large", refuse(500))
    found = decision(site, answered(site))
    assert [(each["candidate"], each["failure"]) for each in found["attempts"]] == [
        ("large", "http_500"),
        ("middle", None),
    ]
    assert (found["first_choice"], found["candidate"]) == ("large", "middle")


def test_the_finish_reason_of_a_stream_is_kept(site: Site, provider: ScriptedProvider) -> None:
    provider.on("large", answer(finish="length"))
    assert decision(site, answered(site, ask(stream=True)))["finish_reason"] == "length"


@pytest.mark.parametrize(("score", "kept"), [("up", 1.0), ("down", 0.0), (0.25, 0.25), (1, 1.0)])
def test_feedback_is_a_label_of_the_decision(shared_site: Site, score: object, kept: float) -> None:
    request_id = answered(shared_site)
    said = feedback(shared_site, request_id, score, comment="as asked", version="v2", probability=0.5)
    assert (said.status, said.json) == (
        200,
        {
            "object": "feedback",
            "request_id": request_id,
            "source": "client",
            "score": kept,
            "candidate": "large",
            "replaced": False,
        },
    )
    [label] = decision(shared_site, request_id)["labels"]
    assert (label["score"], label["source"], label["comment"]) == (kept, "client", "as asked")
    assert (label["version"], label["probability"]) == ("v2", 0.5)


def test_the_last_word_of_a_source_stands_and_others_stand_beside_it(shared_site: Site) -> None:
    request_id = answered(shared_site)
    assert [feedback(shared_site, request_id, score).json["replaced"] for score in (0.1, 0.1, 0.9)] == [
        False,
        True,
        True,
    ]
    assert feedback(shared_site, request_id, "down", source="reviewer:2").json["replaced"] is False
    labels = decision(shared_site, request_id)["labels"]
    assert {label["source"]: label["score"] for label in labels} == {"client": 0.9, "reviewer:2": 0.0}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"score": 1.5}, "score"),
        ({"score": -0.1}, "score"),
        ({"score": "sideways"}, "score"),
        ({"score": None}, "score"),
        ({"score": True}, "score"),
        ({"score": 1, "source": ""}, "source"),
        ({"score": 1, "source": "a b"}, "source"),
        ({"score": 1, "source": "x" * 65}, "source"),
        ({"score": 1, "comment": "x" * (LONGEST_COMMENT + 1)}, "comment"),
        ({"score": 1, "comment": 5}, "comment"),
        ({"score": 1, "probability": 0}, "probability"),
        ({"score": 1, "version": "\n"}, "version"),
        ({"score": 1, "stars": 5}, None),
        ({}, None),
    ],
)
def test_feedback_that_is_none_is_told_why(shared_site: Site, body: dict[str, Any], param: str | None) -> None:
    refused = shared_site.call("POST", "/v1/feedback", {"request_id": "req_1", **body})
    assert refused.status == 400
    assert refused.error["param"] == param


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"request_id": "a", "score": NaN}', b'{"request_id":"\xff"}'])
def test_feedback_that_is_no_json_is_refused(shared_site: Site, raw: bytes) -> None:
    assert shared_site.call("POST", "/v1/feedback", raw).status == 400


@pytest.mark.slow
def test_feedback_on_what_is_not_ones_own_is_not_found(shared_site: Site) -> None:
    request_id = answered(shared_site)
    assert feedback(shared_site, request_id, 1, key=OTHER_KEY).error["code"] == "not_found"
    assert feedback(shared_site, "req_0000", 1).status == 404
    assert feedback(shared_site, request_id, 1, key="sk-nobody").status == 401
    assert decision(shared_site, request_id)["labels"] == []


def test_feedback_on_what_was_not_answered_is_refused(shared_site: Site) -> None:
    refused = shared_site.chat(ask(), X_Budget="0.000000001")
    assert refused.status == 402
    assert feedback(shared_site, refused.headers["x-request-id"], 1).error["code"] == "no_answer"


def test_feedback_is_taken_for_thirty_days(site: Site) -> None:
    early, late = answered(site), answered(site)
    site.ledger.outcome(early), site.ledger.outcome(late)
    with closing(sqlite3.connect(site.folder / "loupe-decisions.sqlite", timeout=60)) as db:
        for request_id, age_s in ((early, LATEST_S - 60), (late, LATEST_S + 60)):
            db.execute("UPDATE decisions SET started_at = started_at - ? WHERE request_id = ?", (age_s, request_id))
        db.commit()
    assert feedback(site, early, 1).status == 200
    assert feedback(site, late, 1).error["code"] == "label_too_late"


def test_one_request_has_labels_of_so_many_sources_at_most(shared_site: Site) -> None:
    request_id = answered(shared_site)
    for number in range(MOST_SOURCES):
        assert feedback(shared_site, request_id, 1, source=f"s{number}").status == 200
    assert feedback(shared_site, request_id, 1, source="one-more").error["param"] == "source"
    assert feedback(shared_site, request_id, 0, source="s0").json["replaced"] is True


def test_the_log_measures_itself(shared_site: Site) -> None:
    shared_site.ledger.outcome(answered(shared_site))
    assert shared_site.metric("loupe_decisions_lost_total") == 0
    assert shared_site.metric("loupe_content_lost_total") == 0
    assert shared_site.metric("loupe_decision_write_seconds") > 0
    assert not math.isnan(shared_site.metric("loupe_decision_queue"))


def test_without_opting_in_nothing_that_was_said_is_in_any_file(site: Site, provider: ScriptedProvider) -> None:
    provider.on("large", answer(text="a most private reply"), answer(text="a most private reply"))
    for body in (ask_of_picture(), ask(stream=True)):
        request_id = answered(site, body)
        site.ledger.outcome(request_id)
    assert feedback(site, request_id, 1).status == 200
    encoded = data_url(PICTURE).partition(",")[2].encode()
    files = [path for path in site.folder.iterdir() if path.is_file()]
    assert {"loupe.sqlite", "loupe-decisions.sqlite", "requests.jsonl"} <= {path.name for path in files}
    assert not (site.folder / "loupe-content.sqlite").exists()
    for path in files:
        data = path.read_bytes()
        for secret in (b"confidential", b"most private", encoded[100:160], PICTURE[100:140]):
            assert secret not in data, f"{secret!r} is in {path.name}"


def test_content_that_an_operator_opted_to_keep_can_be_read_and_is_deleted_by_tenant(
    keeping: Site, provider: ScriptedProvider
) -> None:
    mine = [answered(keeping, body) for body in (ask_of_picture(), ask("another", stream=True), ask("another"))]
    other = answered(keeping, ask(), key=OTHER_KEY)
    for request_id in (*mine, other):
        keeping.ledger.outcome(request_id)
    found = {each.request_id: each for each in logged_answers(keeping.folder / "loupe.sqlite")}
    assert list(found) == [*mine, other]
    assert [found[one].question for one in (*mine, other)] == [QUESTION, "another", "another", QUESTION]
    assert {one.reply for one in found.values()} == {TEXT}
    assert [one.images for one in found.values()] == [(PICTURE,), (), (), ()]

    path = f"{'/admin/content'}/first"
    deleted = keeping.call("DELETE", path, key=ADMIN_KEY)
    assert (deleted.status, deleted.json) == (200, {"object": "content.deleted", "tenant": "first", "rows": 6})
    assert keeping.call("DELETE", path, key=KEY).status == 401
    assert [each.request_id for each in logged_answers(keeping.folder / "loupe.sqlite")] == [other]
    for name in ("loupe-content.sqlite", "loupe-content.sqlite-wal"):
        data = (keeping.folder / name).read_bytes() if (keeping.folder / name).exists() else b""
        assert b"another" not in data
        assert PICTURE[100:140] not in data
    assert decision(keeping, mine[0])["candidate"] == "large", "what was decided stays"
    assert (keeping.folder / "loupe-content.sqlite").stat().st_mode & 0o077 == 0
    assert "confidential" not in keeping.request_log.read_text() + "".join(keeping.log)


def test_a_gateway_that_keeps_no_decisions_says_so(provider: ScriptedProvider, tmp_path: Path) -> None:
    with serving_gateway(settings_for(tmp_path, provider.url, decisions={"keep": False}), tmp_path) as site:
        request_id = answered(site)
        assert site.call("GET", f"/v1/decisions/{request_id}").error["code"] == "decisions_not_kept"
        assert feedback(site, request_id, 1).error["code"] == "decisions_not_kept"
    assert not (tmp_path / "loupe-decisions.sqlite").exists()


def test_what_was_served_and_labelled_is_a_row_of_an_outcome_table(site: Site, tmp_path: Path) -> None:
    """From the client's request to the table, with the very vectors that were routed by."""
    routed, pinned = answered(site, ask_of_picture()), answered(site, ask("another", model="small"))
    assert feedback(site, routed, 0.75).status == 200
    assert feedback(site, pinned, "down").status == 200
    out = tmp_path / "table"
    export = ["table", "export", "--store", str(site.folder / "loupe.sqlite"), "--out", str(out)]
    assert main([*export, "--until", "1h"]) == 1
    assert main([*export, "--since", "1h", "--no-embeddings"]) == 0
    assert read_table(out).query_ids == (routed, pinned)  # a pinned request is not encoded
    assert main(export) == 0
    table, embedded = read_table(out), read_embedded(out)
    assert (table.query_ids, table.details["decided"]) == ((routed,), ("determined",))
    column = table.candidates.index("large")
    assert (table.score[0, column], table.weights[0, column]) == (0.75, 1.0)
    assert table.cost_usd[0, column] == pytest.approx(decision(site, routed)["cost_usd"])
    assert table.details["image_sha256"] == (hashlib.sha256(PICTURE).hexdigest(),)
    assert embedded is not None
    encoder = FakeEncoder()
    expected = {**encoder.encode_texts([QUESTION]), **encoder.encode_images([PICTURE])}
    assert embedded.encoder_digest == encoder.digest
    for view, rows in expected.items():
        assert embedded.views[view].tolist() == rows.astype("float16").astype("float32").tolist()
