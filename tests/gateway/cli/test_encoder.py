"""`loupe encoder` as a reader calls it: what is listed, proven, fetched from a real server, and refused."""

from __future__ import annotations

import hashlib
import shutil
import socket
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.download import DownloadError
from gateway.cli.encoder_pull import pull
from models.bundle import BundleError, bundled
from models.catalogue import CATALOGUE, Listed, RemoteFile
from models.dual import DualEncoder
from models.pulled import pulled_names
from tests.gateway.cli.test_download import Behaviour, left_in, serving
from tests.models.onnx_bytes import combined_clip

GRAPH = combined_clip()
TINY = next(listed for listed in CATALOGUE if listed.kind == "combined")
without_torch = pytest.mark.skipif(find_spec("torch") is not None, reason="the extra `export` is installed")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOUPE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def drawn(graph: bytes = GRAPH) -> Listed:
    file = RemoteFile("https://example.org", "file", hashlib.sha256(graph).hexdigest(), len(graph))
    return Listed("Drawn", "combined", file, "none", "a drawn graph")


def test_list_names_what_is_here_and_what_can_be_had(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    shutil.copytree(bundled("fused-lite"), home / "encoders" / "Mine")
    assert main(["encoder", "list"]) == 0
    printed = capsys.readouterr().out
    assert "fused-lite\n    bundled, 33.8 MB, views text 384, image 384, image_features 1280" in printed
    assert "Mine\n    pulled, 33.8 MB" in printed
    for listed in CATALOGUE:
        assert f"{listed.name}\n    not here: loupe encoder pull {listed.name}" in printed
        assert listed.file.sha256 in printed
    assert str(home / "encoders") in printed


def test_list_says_that_a_bundle_is_broken(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    folder = shutil.copytree(bundled("fused-lite"), home / "encoders" / "Mine")
    (Path(folder) / "text.onnx").unlink()
    assert main(["encoder", "list"]) == 0
    assert "Mine\n    pulled, and broken: " in capsys.readouterr().out


def test_every_listed_encoder_is_pinned() -> None:
    for listed in CATALOGUE:
        assert len(bytes.fromhex(listed.file.sha256)) == 32
        assert listed.file.base.startswith("https://")
        assert listed.licence


@pytest.mark.slow
def test_check_proves_all_that_is_here(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    shutil.copytree(bundled("fused-lite"), home / "encoders" / "Mine")
    assert main(["encoder", "check"]) == 0
    printed = capsys.readouterr().out
    for name in ("fused-lite", "Mine"):
        assert f"{name}: 5 files agree with their sha256; 4 probes, cosine 1.0000" in printed


@pytest.mark.slow
def test_check_of_a_folder_that_was_altered_fails(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundled("fused-lite"), tmp_path / "altered"))
    (folder / "probe.png").write_bytes(b"other")
    assert main(["encoder", "check", str(folder), "fused-lite", "unknown"]) == 1
    printed = capsys.readouterr().out
    assert "altered: FAILED: " in printed and "probe.png is not the file that was bundled" in printed
    assert "fused-lite: 5 files agree" in printed
    assert "unknown: FAILED: there is no bundle" in printed


def test_pulled_graph_becomes_a_bundle_and_its_download_goes(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Behaviour(content=GRAPH)) as url:
        folder = pull(drawn(), hub=url.removesuffix("/file"))
    assert folder == home / "encoders" / "Drawn"
    assert pulled_names() == ("Drawn",)
    assert DualEncoder.load(folder).image_dims == {"image": 6}
    assert left_in(home / "downloads") == set()
    assert left_in(home / "encoders") == {"Drawn"}
    assert "model" not in capsys.readouterr().out


@pytest.mark.slow
def test_encoder_that_is_here_is_not_fetched_again(home: Path) -> None:
    behaviour = Behaviour(content=GRAPH)
    with serving(behaviour) as url:
        first = pull(drawn(), hub=url.removesuffix("/file"))
        assert pull(drawn(), hub=url.removesuffix("/file")) == first
        assert len(behaviour.asked) == 1
        (first / "image.onnx").write_bytes(b"broken")
        pull(drawn(), hub=url.removesuffix("/file"))
    assert len(behaviour.asked) == 2
    DualEncoder.load(first)


@pytest.mark.slow
def test_pull_that_breaks_off_goes_on_where_it_stopped(home: Path) -> None:
    behaviour = Behaviour(content=GRAPH, breaks_after=1_000)
    with serving(behaviour) as url:
        with pytest.raises(DownloadError, match="broke off"):
            pull(drawn(), hub=url.removesuffix("/file"))
        assert pulled_names() == ()
        behaviour.breaks_after = None
        pull(drawn(), hub=url.removesuffix("/file"))
    assert behaviour.asked[1]["range"] == "bytes=1000-"
    assert pulled_names() == ("Drawn",)


def test_graph_of_another_layout_leaves_no_bundle(home: Path) -> None:
    with serving(Behaviour(content=b"no graph")) as url, pytest.raises(BundleError, match="no CLIP in one ONNX file"):
        pull(drawn(b"no graph"), hub=url.removesuffix("/file"))
    assert left_in(home / "encoders") == set()


def test_wrong_hash_ends_the_command_with_its_reason(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = b"x" * (TINY.file.size or 0)
    with serving(Behaviour(content=content)) as url:
        hub = url.removesuffix("/file")
        assert main(["encoder", "pull", TINY.name, "--hub", f"{hub}/file?"]) == 1
    assert f"not {TINY.file.sha256}; it was removed" in capsys.readouterr().err
    assert left_in(home) == {"downloads"}
    assert left_in(home / "downloads") == set()


def test_offline_says_which_host_and_where_the_file_would_go(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        hub = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert main(["encoder", "pull", TINY.name, "--hub", hub]) == 1
    printed = capsys.readouterr().err
    assert f"{hub.removeprefix('http://')} cannot be reached" in printed
    assert f"copy it to {home / 'downloads' / TINY.name}" in printed
    assert not (home / "encoders").exists()


@pytest.mark.slow
def test_file_that_was_brought_by_hand_needs_no_hub(home: Path) -> None:
    listed = replace(drawn(), file=replace(drawn().file, base="http://127.0.0.1:1"))
    (home / "downloads").mkdir(parents=True)
    (home / "downloads" / "Drawn-file").write_bytes(GRAPH)
    pull(listed)
    assert pulled_names() == ("Drawn",)


@without_torch
@pytest.mark.parametrize(
    "words",
    [
        ("pull", "ViT-B-32"),
        ("export", "--model", "ViT-B-32", "--pretrained", "openai", "--out", "new"),
        ("quantize", "fused-lite", "--out", "new"),
    ],
)
def test_what_takes_the_extra_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["encoder", *words]) == 1
    assert 'pip install "loupe-gateway[export]"' in capsys.readouterr().err
    assert left_in(tmp_path) == set()


def test_folder_that_is_taken_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("")
    assert main(["encoder", "quantize", "fused-lite", "--out", str(tmp_path / "out")]) == 1
    assert "is there already" in capsys.readouterr().err


def test_unknown_name_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["encoder", "pull", "CLIP"])
    assert "ViT-B-16" in capsys.readouterr().err
