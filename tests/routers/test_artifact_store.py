"""The shelf of artifacts: one serves, what was before can come back, and nothing altered is given out."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from routers.algorithms.best_single import BestSingle
from routers.artifact import HEADER, NUMBERS, ArtifactError, Provenance, save
from routers.artifact_store import CURRENT, ID_LENGTH, ArtifactStore
from routers.forecasting.head import HeadAlgorithm
from tests.fakes.synthetic import drawn_table


def artifact(folder: Path, seed: int) -> Path:
    """A trained artifact, another for each seed."""
    table, views = drawn_table(groups=8, seed=seed)
    save(HeadAlgorithm(BestSingle).fit(table, views), folder / str(seed), Provenance("drawn", table.digest))
    return folder / str(seed)


@pytest.fixture
def shelf(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def test_an_empty_shelf_says_nothing(shelf: ArtifactStore) -> None:
    assert (shelf.mark(), shelf.pointer().digest, shelf.versions()) == (b"", None, [])


def test_what_was_promoted_last_serves_and_what_was_before_comes_back(shelf: ArtifactStore, tmp_path: Path) -> None:
    first, second = (shelf.add(artifact(tmp_path, seed)) for seed in (1, 2))
    shelf.promote(first, "monday")
    shelf.promote(second, "tuesday")
    assert shelf.pointer().digest == second
    assert shelf.load(second).digest == second
    assert shelf.roll_back("wednesday") == first
    assert shelf.roll_back("thursday") is None
    assert shelf.pointer().digest is None
    with pytest.raises(ArtifactError, match="nothing was promoted"):
        shelf.roll_back("friday")
    assert [(change.digest, change.at, change.by) for change in shelf.pointer().history] == [
        (first, "monday", "promote"),
        (second, "tuesday", "promote"),
        (first, "wednesday", "rollback"),
        (None, "thursday", "rollback"),
    ]
    assert [version.digest for version in shelf.versions()] == sorted([first, second])


def test_promoting_what_serves_changes_nothing(shelf: ArtifactStore, tmp_path: Path) -> None:
    digest = shelf.add(artifact(tmp_path, 1))
    shelf.promote(digest, "monday")
    mark = shelf.mark()
    assert shelf.add(artifact(tmp_path, 1)) == digest
    shelf.promote(digest, "tuesday")
    assert shelf.mark() == mark


def cut_short(folder: Path) -> None:
    (folder / NUMBERS).write_bytes((folder / NUMBERS).read_bytes()[:-10])


def edit_header(folder: Path) -> None:
    header = json.loads((folder / HEADER).read_text())
    (folder / HEADER).write_text(json.dumps(header | {"algorithm": "linear"}))


def put_another_in_its_place(folder: Path) -> None:
    other = artifact(folder.parent.parent, 9)
    for name in (NUMBERS, HEADER):
        shutil.copyfile(other / name, folder / name)


@pytest.mark.parametrize(
    ("alter", "why"),
    [(cut_short, "altered or cut short"), (edit_header, "altered"), (put_another_in_its_place, "altered")],
)
def test_an_altered_version_is_not_given_out(
    shelf: ArtifactStore, tmp_path: Path, alter: Callable[[Path], None], why: str
) -> None:
    digest = shelf.add(artifact(tmp_path, 1))
    alter(shelf.path(digest))
    with pytest.raises(ArtifactError, match=why):
        shelf.load(digest)
    with pytest.raises(ArtifactError, match=why):
        shelf.promote(digest, "monday")
    assert shelf.mark() == b""
    (version,) = shelf.versions()
    assert why in version.problem
    shelf.add(artifact(tmp_path, 1))  # put back whole
    assert shelf.load(digest).digest == digest


def test_a_version_is_found_by_the_beginning_of_its_id(shelf: ArtifactStore, tmp_path: Path) -> None:
    digest = shelf.add(artifact(tmp_path, 1))
    assert shelf.find(digest[:5]) == shelf.find(digest[:ID_LENGTH]) == digest
    for name in ("", "zz"):
        with pytest.raises(ArtifactError, match=f"no artifact with the id '{name}'; known: {digest[:ID_LENGTH]}"):
            shelf.find(name)


@pytest.mark.parametrize("said", [b"{", b"[]", b'{"format": 1}', b'{"format": 9, "stack": [], "history": []}'])
def test_a_pointer_that_says_something_else_is_refused(shelf: ArtifactStore, said: bytes) -> None:
    shelf.folder.mkdir()
    (shelf.folder / CURRENT).write_bytes(said)
    with pytest.raises(ArtifactError, match=CURRENT):
        shelf.pointer()


def test_two_that_promote_at_once_lose_no_history(shelf: ArtifactStore, tmp_path: Path) -> None:
    digests = [shelf.add(artifact(tmp_path, seed)) for seed in (1, 2)]

    def promote_in_turns(digest: str) -> None:
        for turn in range(20):
            shelf.promote(digest, str(turn))

    threads = [threading.Thread(target=promote_in_turns, args=(digest,)) for digest in digests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pointer = shelf.pointer()
    assert list(pointer.stack) == [change.digest for change in pointer.history]
    assert all(one != other for one, other in zip(pointer.stack, pointer.stack[1:], strict=False))
