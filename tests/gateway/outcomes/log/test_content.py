"""Content: kept only where it was asked for, by tenant, for so many days, and deleted for good."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gateway.cli import main
from gateway.outcomes.label import Label
from gateway.outcomes.log.content import DAY_S, LONGEST_REPLY, ContentStore, delete_content
from gateway.outcomes.log.labels import put_labels
from gateway.outcomes.log.reader import logged_answers
from gateway.outcomes.log.schema import content_path, decisions_path
from gateway.pipeline.chat_request import InlineImage
from tests.e2e.harness.scripted_provider import wait_until
from tests.e2e.harness.site import settings_for
from tests.gateway.outcomes.log.made import PICTURE, Said, full, keep, log_at, rows

OTHER = b"\x89PNG\r\n\x1a\n" + b"another picture"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "loupe.sqlite"


def count(store: Path, table: str, tenant: str = "%") -> int:
    (found,) = rows(content_path(store), f"SELECT count(*) FROM {table} WHERE tenant LIKE ?", tenant)
    return int(found[0])


def test_what_is_the_same_is_kept_once_a_tenant(store: Path) -> None:
    keep(
        store,
        *[full(number, reply=Said()) for number in range(5)],
        full(5, tenant="other", reply=Said()),
        full(6, "how much?", pictures=(PICTURE, OTHER), reply=Said()),
        days=30,
    )
    assert [count(store, table, "acme") for table in ("questions", "pictures", "replies")] == [2, 2, 6]
    assert [count(store, table, "other") for table in ("questions", "pictures", "replies")] == [1, 1, 1]
    found = {each.request_id: each for each in logged_answers(store)}
    assert found["req_6"].images == (PICTURE, OTHER)
    assert (found["req_5"].tenant, found["req_5"].question, found["req_5"].reply) == ("other", "how many?", Said().text)


def test_answers_can_be_chosen_by_time_and_tenant_and_know_their_labels(store: Path) -> None:
    at = full().started_at
    keep(store, *[full(n, reply=Said(), started_at=at + n, tenant=f"t{n % 2}") for n in range(6)], days=30)
    put_labels(decisions_path(store), [Label("req_4", 1.0, source="grader:exact")], at + 60)
    found = list(logged_answers(store, since=at + 2, until=at + 5, tenant="t0"))
    assert [(each.request_id, each.sources) for each in found] == [("req_2", ()), ("req_4", ("grader:exact",))]


def test_a_refused_request_leaves_no_reply(store: Path) -> None:
    keep(store, full(1, outcome="failed", reply=Said("half a rep")), full(2, reply=Said("")), days=30)
    assert count(store, "replies") == 0
    assert count(store, "questions") == 1


def test_long_replies_are_cut(store: Path) -> None:
    keep(store, full(1, reply=Said("x" * (LONGEST_REPLY + 1))), days=30)
    assert rows(content_path(store), "SELECT length(text) FROM replies") == [(LONGEST_REPLY,)]


def test_text_that_is_no_unicode_is_kept_as_far_as_it_is(store: Path) -> None:
    keep(store, full(1, "a\ud800b", reply=Said("c\udfffd")), days=30)
    [found] = logged_answers(store)
    assert (found.question, found.reply) == ("a?b", "c?d")


def test_an_image_whose_base64_is_none_keeps_nothing_back(store: Path) -> None:
    broken = InlineImage(b"abc", b"k" * 32)
    keep(store, full(1, reply=Said())._replace(sources=(broken,)), days=30)
    assert count(store, "pictures") == 0
    assert count(store, "replies") == 1


def test_content_is_removed_so_many_days_after_it_was_last_seen(store: Path) -> None:
    keep(store, full(1, reply=Said()), full(2, "another", pictures=(OTHER,), reply=Said()), days=10)
    now = rows(content_path(store), "SELECT max(seen_at) FROM questions")[0][0]
    swept = ContentStore(content_path(store), 10)
    swept.open()
    assert swept.sweep(now + 9 * DAY_S) == 0
    keep(store, full(3, reply=Said()), days=10)
    db = swept._db
    for table in ("questions", "pictures"):  # the first was seen again later
        db.execute(f"UPDATE {table} SET seen_at = seen_at + {5 * DAY_S} WHERE rowid = 1")
    assert swept.sweep(now + 11 * DAY_S) == 5
    swept.close()
    assert [count(store, table) for table in ("questions", "pictures", "replies")] == [1, 1, 0]


def test_an_open_log_sweeps_by_itself(store: Path) -> None:
    keep(store, full(1, reply=Said()), days=10)
    old = ContentStore(content_path(store), 10)
    old.open()
    for table in ("questions", "pictures", "replies"):
        old._db.execute(f"UPDATE {table} SET seen_at = seen_at - {11 * DAY_S}")
    old.close()
    with log_at(store, days=10):
        wait_until(lambda: count(store, "replies") == 0, "the sweep")
    assert count(store, "pictures") == 0


def test_deletion_leaves_no_byte_of_the_tenant_and_nobody_elses_alone(store: Path) -> None:
    keep(
        store,
        *[full(number, f"private {number}", pictures=(OTHER + bytes([number]) * 9_000,)) for number in range(40)],
        full(40, "theirs", pictures=(PICTURE,), tenant="other", reply=Said()),
        days=30,
    )
    keep(store, full(41, "private 41", reply=Said("a private reply")), days=30)
    label = Label("req_1", 0.5, comment="a private comment")
    put_labels(decisions_path(store), [label], full().started_at)
    assert any(b"private" in path.read_bytes() for path in store.parent.iterdir())

    assert delete_content(store, "acme") == 41 + 41 + 1 + 1
    for path in store.parent.iterdir():
        data = path.read_bytes()
        assert b"private" not in data, path.name
        assert b"another picture" not in data, path.name
    assert [count(store, table) for table in ("questions", "pictures", "replies")] == [1, 1, 1]
    assert delete_content(store, "acme") == 0
    assert rows(decisions_path(store), "SELECT score, comment FROM labels") == [(0.5, None)]


def test_the_command_deletes_what_the_configurations_gateway_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = settings_for(tmp_path, "http://127.0.0.1:9")
    (tmp_path / "gateway.yaml").write_text(yaml.safe_dump(raw))
    keep(tmp_path / "loupe.sqlite", full(1, reply=Said()), days=30)
    words = ["content", "delete", "--config", str(tmp_path / "gateway.yaml"), "--tenant"]
    assert main([*words, "acme"]) == 0
    assert capsys.readouterr().out == "3 of acme deleted: questions, images, replies and comments\n"
    assert main([*words, "nobody"]) == 0
    assert capsys.readouterr().out.startswith("0 of nobody")


def test_nothing_is_deleted_where_nothing_was_ever_kept(store: Path) -> None:
    assert delete_content(store, "acme") == 0
    assert list(store.parent.iterdir()) == []
