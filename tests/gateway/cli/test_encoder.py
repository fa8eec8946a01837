"""`loupe encoder` as a reader calls it: what is listed, proven, fetched from a real server, and refused."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.encoder import pull
from gateway.outcomes.downloads import DownloadError
from models.bundle import BundleError, bundled
from models.dual_encoder import DualEncoder
from models.registry import CATALOGUE, ListedEncoder, RemoteFile, pulled_names
from tests.gateway.outcomes.hub_server import Hub, serving
from tests.gateway.outcomes.test_downloads import left_in
from tests.models.onnx_bytes import combined_clip

GRAPH = combined_clip()
TINY = next(listed for listed in CATALOGUE if listed.kind == "combined")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOUPE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def drawn(graph: bytes = GRAPH) -> ListedEncoder:
    file = RemoteFile("https://example.org", "file", hashlib.sha256(graph).hexdigest(), len(graph))
    return ListedEncoder("Drawn", "combined", file, "none", "a drawn graph")


def test_list_names_what_is_here_and_what_can_be_had(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    shutil.copytree(bundled("fused-lite"), home / "encoders" / "Mine")
    assert main(["encoder", "list"]) == 0
    printed = capsys.readouterr().out
    assert "fused-lite\n    bundled, 33.5 MB, views text 384, image 384, image_features 1280" in printed
    assert "Mine\n    pulled, 33.5 MB" in printed
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
    assert "unknown: FAILED: unknown bundle" in printed


def test_pulled_graph_becomes_a_bundle_and_its_download_goes(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Hub(plain={"/file": GRAPH})) as url:
        folder = pull(drawn(), hub=url)
    assert folder == home / "encoders" / "Drawn"
    assert pulled_names() == ("Drawn",)
    assert DualEncoder.load(folder).image_dims == {"image": 6}
    assert left_in(home / "downloads") == set()
    assert left_in(home / "encoders") == {"Drawn"}
    assert "model" not in capsys.readouterr().out


@pytest.mark.slow
def test_encoder_that_is_here_is_not_fetched_again(home: Path) -> None:
    hub = Hub(plain={"/file": GRAPH})
    with serving(hub) as url:
        first = pull(drawn(), hub=url)
        assert pull(drawn(), hub=url) == first
        assert len(hub.asked) == 1
        (first / "image.onnx").write_bytes(b"broken")
        pull(drawn(), hub=url)
    assert len(hub.asked) == 2
    DualEncoder.load(first)


@pytest.mark.slow
def test_pull_that_breaks_off_goes_on_where_it_stopped(home: Path) -> None:
    hub = Hub(plain={"/file": GRAPH}, breaks={"/file": 1_000})
    with serving(hub) as url:
        with pytest.raises(DownloadError, match="broke off"):
            pull(drawn(), hub=url)
        assert pulled_names() == ()
        hub.breaks.clear()
        pull(drawn(), hub=url)
    assert hub.ranges_of("/file") == ["", "bytes=1000-"]
    assert pulled_names() == ("Drawn",)


def test_graph_of_another_layout_leaves_no_bundle(home: Path) -> None:
    hub = Hub(plain={"/file": b"no graph"})
    with serving(hub) as url, pytest.raises(BundleError, match="not a CLIP in one ONNX file"):
        pull(drawn(b"no graph"), hub=url)
    assert left_in(home / "encoders") == set()


def test_wrong_hash_ends_the_command_with_its_reason(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Hub(plain={f"/{TINY.file.path}": b"x" * (TINY.file.size or 0)})) as url:
        assert main(["encoder", "pull", TINY.name, "--hub", url]) == 1
    said = capsys.readouterr().err
    assert said.startswith("loupe encoder: ") and said.endswith(f", not {TINY.file.sha256}\n")
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


@pytest.mark.slow
def test_endpoint_of_the_environment_is_asked_for_the_hubs_files(home: Path) -> None:
    hub = Hub(plain={f"/{TINY.file.path}": b"another file"})
    with serving(hub) as url:
        done = run_without((), ("encoder", "pull", TINY.name), HF_ENDPOINT=url)
    assert done.returncode == 1
    assert done.stderr.startswith(f"loupe encoder: {url}/{TINY.file.path} is not the expected file: its digest is ")
    assert done.stderr.count("\n") == 1
    assert [path for path, _ in hub.asked] == [f"/{TINY.file.path}"]
    assert left_in(home / "downloads") == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("pull", TINY.name), 'takes onnx, which is not installed: pip install "loupe-gateway[onnx]"'),
        (("quantize", "fused-lite"), 'takes onnx, which is not installed: pip install "loupe-gateway[onnx]"'),
        (("pull", "ViT-B-32"), 'takes torch, open_clip, onnx, which is not installed: pip install "loupe-gateway'),
        (("export", "--model", "ViT-B-32", "--pretrained", "openai"), 'pip install "loupe-gateway[export]"'),
    ],
)
def test_what_takes_an_extra_says_so_before_anything_is_fetched(
    tmp_path: Path, home: Path, words: tuple[str, ...], says: str
) -> None:
    out = () if words[0] == "pull" else ("--out", str(tmp_path / "new"))
    done = run_without(("torch", "open_clip", "onnx"), ("encoder", *words, *out), HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1
    assert says in done.stderr and done.stderr.count("\n") == 1
    assert not home.exists() and not (tmp_path / "new").exists()


def run_without(modules: Sequence[str], words: Sequence[str], **more: str) -> subprocess.CompletedProcess[str]:
    """A command in a process that has none of these modules."""
    script = f"import sys; sys.modules.update(dict.fromkeys({list(modules)}))\n"
    script += f"from gateway.cli import main\nsys.exit(main({list(words)}))"
    environment = {**os.environ, **more}
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)


def test_folder_that_is_taken_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("")
    assert main(["encoder", "quantize", "fused-lite", "--out", str(tmp_path / "out")]) == 1
    assert "is there already" in capsys.readouterr().err


def test_unknown_name_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["encoder", "pull", "CLIP"])
    assert "ViT-B-16" in capsys.readouterr().err
