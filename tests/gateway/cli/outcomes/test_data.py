"""`loupe data pull` against a real server that answers as the hub does: whole and proven, or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import pty
import signal
import socket
import subprocess
import sys
import tarfile
import termios
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gateway.cli import main
from routers.table.formats import read_table
from tests.e2e.harness.scripted_provider import wait_until
from tests.gateway.outcomes.hub_server import COMMIT, REPOSITORY, Hub, serving

TABLE = "dataset_idx,question,GPT-4o_correct,GPT-4o_token,GPT-4o_cost\n" + "".join(
    f'{name},"What is\nthis, {name}?",1,{20 + row},0.001\n'
    for row, name in enumerate(["MathVista_1", "SEEDBench2_Plus_0", "OCRBench_7"])
)
IMAGES = ("MathVista/1.jpg", "SEEDBenchv2Plus/0.jpg", "OCRBench/7.png")


def picture(name: str) -> bytes:
    """An image of some 30 kB: more than a server's buffer, so that it can be cut."""
    random = hashlib.shake_256(name.encode()).digest(100 * 100 * 3)
    file = io.BytesIO()
    Image.frombytes("RGB", (100, 100), random).save(file, "png")
    return file.getvalue()


def archive_of(names: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as opened:
        for name, content in names.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
    return file.getvalue()


PICTURES = {name: picture(name) for name in IMAGES}
SMALL = {
    ".gitattributes": b"*.jpg filter=lfs",
    "README.md": b"# MMR-Bench\n",
    "a b/\xc3\xa4.txt".encode().decode(): b"x",
}
FOLDERS = {"MMR_Bench.csv": TABLE.encode(), **PICTURES, **SMALL}
"""The layout that was published first, and that upstream's loader expects."""
ARCHIVE = {"MMR-Bench.csv": TABLE.encode(), "images.tar.gz": archive_of(PICTURES), **SMALL}
"""The layout of today."""


def holding(files: Mapping[str, bytes], **more: Any) -> Hub:
    return Hub(dict(files), small=frozenset(SMALL), **more)


def listing(*entries: Any) -> Hub:
    """A hub that lists this."""
    return Hub(listing=list(entries))


def listing_one(path: str, size: int = 1, oid: str = "0" * 40) -> Hub:
    """A hub that lists one small file."""
    return listing({"type": "file", "path": path, "size": size, "oid": oid})


def pull(url: str, folder: Path, *words: str) -> int:
    return main(["data", "pull", "mmr-bench", "--hub", url, "--out", str(folder), *words])


def start(url: str, folder: Path, *words: str, stderr: int = subprocess.PIPE, **more: str) -> subprocess.Popen[str]:
    """The command as a process of its own, with HF_ENDPOINT for a hub and no token but what `more` brings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": url, "HF_HOME": str(folder.with_name("hf-home")), **more}
    command = [sys.executable, "-m", "gateway.cli", "data", "pull", "mmr-bench", "--out", str(folder), *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("layout", [FOLDERS, ARCHIVE])
def test_table_and_images_arrive_in_either_layout_and_a_pipe_gets_no_progress_bar(
    tmp_path: Path, layout: dict[str, bytes]
) -> None:
    hub = holding(layout)
    with serving(hub) as url:
        out, err = start(f"{url}/", tmp_path / "out").communicate(timeout=120)
    assert err == ""
    assert all(REPOSITORY in path or path.startswith("/store/") for path, _ in hub.asked), "the hub learns nothing else"
    assert "3 queries, 3 with their image, 1 candidates" in out
    found = files_in(tmp_path / "out")
    assert found == {name: content for name, content in {**layout, **PICTURES}.items() if name != ".gitattributes"}
    table = read_table(next((tmp_path / "out").glob("*.csv")))
    assert [path and path.relative_to(tmp_path / "out").as_posix() for path in table.image_paths] == list(IMAGES)


@pytest.mark.slow
def test_terminal_gets_a_progress_bar(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    with serving(holding(ARCHIVE)) as url:
        process = start(url, tmp_path / "out", stderr=theirs)
        os.close(theirs)
        shown = b""
        while process.poll() is None or not shown:
            try:
                shown += os.read(ours, 65_536)
            except OSError:  # Linux says so when the other end is closed
                break
        process.communicate(timeout=120)
    os.close(ours)
    assert process.returncode == 0
    assert f"{REPOSITORY}: 100%|".encode() in shown
    assert b"unpacking images.tar.gz" in shown


@pytest.mark.slow
def test_pull_that_was_killed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    hub = holding(ARCHIVE, stalls={"images.tar.gz": 60_000})
    partial = tmp_path / "out" / "images.tar.gz.partial"
    with serving(hub) as url:
        process = start(url, tmp_path / "out", "--jobs", "1")
        wait_until(lambda: partial.is_file() and partial.stat().st_size >= 50_000, "most of the archive")
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert not partial.with_suffix("").exists()
        held = partial.stat().st_size
        hub.stalls.clear()
        hub.asked.clear()
        process = start(url, tmp_path / "out", "--jobs", "1")
        _, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")
        assert hub.ranges_of("/store/images.tar.gz") == [f"bytes={held}-"]
        assert "MMR-Bench.csv" not in hub.fetched()
    assert files_in(tmp_path / "out")[IMAGES[2]] == PICTURES[IMAGES[2]]


@pytest.mark.slow
def test_token_is_sent_to_the_hub_and_not_to_the_store_it_leads_to(tmp_path: Path) -> None:
    store = holding(ARCHIVE)
    with serving(store) as store_url, serving(holding(ARCHIVE, store=store_url)) as url:
        hub_asked = store.asked
        process = start(url, tmp_path / "out", HF_TOKEN="hf_secret")
        assert process.wait(timeout=120) == 0
        process.communicate()
    assert hub_asked and all("authorization" not in headers for _, headers in hub_asked)


def test_second_pull_fetches_nothing(tmp_path: Path) -> None:
    hub = holding(FOLDERS)
    with serving(hub) as url:
        assert pull(url, tmp_path) == 0
        assert len(hub.fetched()) == len(FOLDERS) - 1
        hub.asked.clear()
        (tmp_path / IMAGES[0]).write_bytes(b"spoilt")
        (tmp_path / "README.md").write_bytes(b"spoilt")
        assert pull(url, tmp_path) == 0
        assert sorted(hub.fetched()) == sorted([IMAGES[0], "README.md"])
    assert files_in(tmp_path)[IMAGES[0]] == PICTURES[IMAGES[0]]


def test_transfer_that_broke_off_is_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub = holding(ARCHIVE, breaks={"images.tar.gz": 20_000})
    with serving(hub) as url:
        assert pull(url, tmp_path, "--jobs", "1") == 1
        assert "broke off while sending" in capsys.readouterr().err
        assert not (tmp_path / "images.tar.gz").exists()
        assert not (tmp_path / "MathVista").exists()
        hub.breaks.clear()
        hub.asked.clear()
        assert pull(url, tmp_path, "--jobs", "1") == 0
        assert hub.ranges_of("/store/images.tar.gz") == ["bytes=20000-"]
        assert "MMR-Bench.csv" not in hub.fetched()
    assert files_in(tmp_path)[IMAGES[2]] == PICTURES[IMAGES[2]]


@pytest.mark.parametrize("name", ["MMR_Bench.csv", IMAGES[1], "README.md"])
def test_file_of_another_digest_is_refused_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with serving(holding(FOLDERS, wrong={name})) as url:
        assert pull(url, tmp_path, "--jobs", "1") == 1
    assert "is not the expected file" in capsys.readouterr().err
    assert not [path for path in files_in(tmp_path) if path.startswith(name)]


def test_no_images_fetches_the_table_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for layout in (FOLDERS, ARCHIVE):
        with serving(holding(layout)) as url:
            assert pull(url, tmp_path / str(len(layout)), "--no-images", "--revision", COMMIT) == 0
        assert sorted(files_in(tmp_path / str(len(layout)))) == [next(iter(layout)), "README.md"]
        assert "3 queries, 0 with their image" in capsys.readouterr().out


def test_hub_that_is_not_reached_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert pull(f"http://127.0.0.1:{port}", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert f"127.0.0.1:{port} cannot be reached" in said
    assert "HTTPS_PROXY" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_offline_by_the_hubs_own_variable_is_said_in_one_line(tmp_path: Path) -> None:
    process = start("http://127.0.0.1:9", tmp_path / "out", HF_HUB_OFFLINE="1")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "offline mode is enabled" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("hub", "says"),
    [
        (Hub(), "has no CSV table"),
        (listing("x"), "the answer is not a listing of files"),
        (listing({"type": "file", "size": 1, "oid": "0" * 40}), "the answer is not a listing of files"),
        (listing_one("a.csv", oid="zz"), "is not the expected file"),
        (listing_one("../a.csv"), "'../a.csv', which is not a path"),
        (listing_one("/a.csv"), "'/a.csv', which is not a path"),
        (listing_one("a\\b.csv"), "which is not a path"),
        (Hub({"a.csv": b"no,table\n"}), "a.csv: no column 'dataset_idx'"),
        (holding({**ARCHIVE, "images.tar.gz": b"no archive"}), "images.tar.gz is not an archive"),
        (holding({**ARCHIVE, "images.tar.gz": archive_of(PICTURES)[:-30_000]}), "images.tar.gz is not an archive"),
        (holding({**ARCHIVE, "images.tar.gz": archive_of({"../out.png": b"x"})}), "outside the destination"),
    ],
)
def test_hub_that_makes_no_sense_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], hub: Hub, says: str
) -> None:
    if hub.listing is not None:
        hub.files, hub.small = {"a.csv": b"x"}, frozenset({"a.csv"})
    with serving(hub) as url:
        assert pull(url, tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert said.startswith("loupe data: ") and said.count("\n") == 1
    assert says in said
    assert [path for path in files_in(tmp_path) if "partial" in path or "out.png" in path] == []


def test_refusals_of_the_hub_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(holding(FOLDERS)) as url:
        assert pull(url, tmp_path, "--revision", "v9") == 1
    said = capsys.readouterr().err
    assert "answered 404 Not Found (Invalid rev id: v9) for http" in said and said.count("\n") == 1
    for hub in ("file:///etc", "nonsense"):
        assert pull(hub, tmp_path) == 1
        said = capsys.readouterr().err
        assert "cannot be reached" in said and said.count("\n") == 1


@pytest.mark.parametrize("words", [["push"], ["pull", "mmlu"], ["pull", "mmr-bench", "--jobs", "0"]])
def test_words_that_are_off_are_a_usage_error(words: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["data", *words])
    assert raised.value.code == 2
