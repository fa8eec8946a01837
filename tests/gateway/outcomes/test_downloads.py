"""A file arrives whole and proven, or not at all, from a real server; an archive stays in its folder."""

from __future__ import annotations

import hashlib
import io
import socket
import tarfile
import threading
from pathlib import Path

import pytest
from tqdm import tqdm

from gateway.errors import ConfigError
from gateway.outcomes.downloads import DownloadError, PinnedFile, download, fetch, pinned, unpack
from models.registry import HUB, OPENAI, RemoteFile
from tests.gateway.outcomes.hub_server import Hub, serving

CONTENT = hashlib.shake_256(b"a file").digest(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATH = "/file"


def hub(**more: object) -> Hub:
    return Hub(plain={PATH: CONTENT}, **more)  # type: ignore[arg-type]


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_file_arrives_whole_and_alone(tmp_path: Path, size: int | None) -> None:
    target = tmp_path / "new" / "file.bin"
    with serving(hub()) as url:
        assert download(PinnedFile(url + PATH, SHA256, size), target) == target
    assert target.read_bytes() == CONTENT
    assert left_in(target.parent) == {"file.bin"}


def test_file_that_is_there_with_its_digest_is_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    there = hub()
    with serving(there) as url:
        download(PinnedFile(url + PATH, SHA256), tmp_path / "file")
        assert there.asked == []
        (tmp_path / "file").write_bytes(b"old")
        download(PinnedFile(url + PATH, SHA256), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_transfer_that_broke_off_goes_on_where_it_stopped(tmp_path: Path) -> None:
    there = hub(breaks={PATH: 300_000})
    with serving(there) as url:
        with pytest.raises(DownloadError, match=r"broke off while sending .*/file: .*; run this again to go on there"):
            download(PinnedFile(url + PATH, SHA256), tmp_path / "file")
        assert left_in(tmp_path) == {"file.partial"}
        assert (tmp_path / "file.partial").stat().st_size == 300_000
        there.breaks.clear()
        download(PinnedFile(url + PATH, SHA256), tmp_path / "file")
    assert there.ranges_of(PATH) == ["", "bytes=300000-"]
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert left_in(tmp_path) == {"file"}


def test_server_without_ranges_starts_over(tmp_path: Path) -> None:
    (tmp_path / "file.partial").write_bytes(b"x" * 1000)
    with serving(hub(ranges=False)) as url:
        download(PinnedFile(url + PATH, SHA256), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_part_longer_than_the_file_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "file.partial").write_bytes(b"x" * (len(CONTENT) + 5))
    with serving(hub()) as url:
        download(PinnedFile(url + PATH, SHA256), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_whole_part_needs_no_server(tmp_path: Path) -> None:
    (tmp_path / "file.partial").write_bytes(CONTENT)
    there = hub()
    with serving(there) as url:
        download(PinnedFile(url + PATH, SHA256, len(CONTENT)), tmp_path / "file")
    assert there.asked == []
    assert left_in(tmp_path) == {"file"}


@pytest.mark.parametrize("size", [None, len(CONTENT), 10])
def test_file_of_another_digest_is_refused_and_removed(tmp_path: Path, size: int | None) -> None:
    with (
        serving(hub(wrong={PATH})) as url,
        pytest.raises(DownloadError, match=f"is not the expected file: its digest is [0-9a-f]{{64}}, not {SHA256}"),
    ):
        download(PinnedFile(url + PATH, SHA256, size), tmp_path / "file")
    assert left_in(tmp_path) == set()


def test_damaged_part_is_found_by_the_digest_and_removed(tmp_path: Path) -> None:
    (tmp_path / "file.partial").write_bytes(b"x" * 1000)
    with serving(hub()) as url:
        with pytest.raises(DownloadError, match="is not the expected file"):
            download(PinnedFile(url + PATH, SHA256), tmp_path / "file")
        assert left_in(tmp_path) == set()
        download(PinnedFile(url + PATH, SHA256), tmp_path / "file")
    assert left_in(tmp_path) == {"file"}


def test_small_file_is_proven_by_its_name_in_git(tmp_path: Path) -> None:
    oid = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
    with serving(hub()) as url:
        download(PinnedFile(url + PATH, oid), tmp_path / "file")
        with pytest.raises(DownloadError, match=f"its digest is {oid}, not {'0' * 40}"):
            download(PinnedFile(url + PATH, "0" * 40), tmp_path / "other")
    assert left_in(tmp_path) == {"file"}


def test_missing_file_is_named_with_its_status(tmp_path: Path) -> None:
    with serving(Hub()) as url, pytest.raises(DownloadError, match=r"answered 404 Not Found for http.*/file$"):
        download(PinnedFile(url + PATH, SHA256), tmp_path / "file")
    assert left_in(tmp_path) == set()


def test_closed_port_says_which_host_and_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(DownloadError) as raised:
            download(PinnedFile(f"http://127.0.0.1:{port}/file", SHA256), tmp_path / "file")
    said = str(raised.value)
    assert f"127.0.0.1:{port} cannot be reached: " in said and "HTTPS_PROXY" in said and "\n" not in said
    assert said.endswith(f"or fetch http://127.0.0.1:{port}/file elsewhere and copy it to {tmp_path / 'file'}")
    assert left_in(tmp_path) == set()


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/file", "file", "http://"])
def test_address_that_is_not_of_the_web_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="cannot be reached"):
        download(PinnedFile(url, SHA256), tmp_path / "file")


def test_transfer_that_is_stopped_keeps_its_part(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with serving(hub()) as url, tqdm(disable=True) as bar, pytest.raises(DownloadError, match="was stopped"):
        fetch(PinnedFile(url + PATH, SHA256), tmp_path / "file", bar, stop)
    assert left_in(tmp_path) == {"file.partial"}


def test_target_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").write_text("")
    with serving(hub()) as url:
        for target in (tmp_path / "folder", tmp_path / "plain" / "file"):
            with pytest.raises(DownloadError, match=f"{target.relative_to(tmp_path).parts[0]}.* cannot be written"):
                download(PinnedFile(url + PATH, SHA256), target)


def test_token_is_meant_for_the_hub_and_its_mirror_and_for_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    of_hub, of_openai = (RemoteFile(base, "a/b.onnx", SHA256, 7) for base in (HUB, OPENAI))
    assert pinned(of_hub).url == f"{HUB}/a/b.onnx"
    assert pinned(of_hub, "http://mirror/").url == "http://mirror/a/b.onnx"
    assert pinned(of_hub, "http://mirror").headers["authorization"] == "Bearer hf_secret"
    assert pinned(of_openai).url == f"{OPENAI}/a/b.onnx"
    assert "authorization" not in pinned(of_openai, "http://mirror").headers


def tar(path: Path, *members: tuple[str, bytes, bytes]) -> Path:
    """Write an archive of (name, type, content or what a link leads to)."""
    with tarfile.open(path, "w") as opened:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.size = len(content) if kind == tarfile.REGTYPE else 0
            member.linkname = content.decode() if kind != tarfile.REGTYPE else ""
            opened.addfile(member, io.BytesIO(content))
    return path


def test_files_of_the_same_size_are_left_alone_and_others_renewed(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar", ("d/x", tarfile.REGTYPE, b"new"), ("d/y", tarfile.REGTYPE, b"new"))
    (tmp_path / "out" / "d").mkdir(parents=True)
    (tmp_path / "out" / "d" / "x").write_bytes(b"old")
    (tmp_path / "out" / "d" / "y").write_bytes(b"half a file")
    assert unpack(archive, tmp_path / "out") == 2
    assert (tmp_path / "out" / "d" / "x").read_bytes() == b"old"
    assert (tmp_path / "out" / "d" / "y").read_bytes() == b"new"


def test_path_that_climbs_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar", ("x", tarfile.REGTYPE, b"x"), ("../y", tarfile.REGTYPE, b"y"))
    with pytest.raises(ConfigError, match=r"a\.tar: nothing more is unpacked: '\.\./y' .*outside"):
        unpack(archive, tmp_path / "out")
    assert left_in(tmp_path) == {"a.tar", "out"}


def test_absolute_path_lands_below_the_folder(tmp_path: Path) -> None:
    unpack(tar(tmp_path / "a.tar", (f"{tmp_path}/y", tarfile.REGTYPE, b"y")), tmp_path / "out")
    assert left_in(tmp_path) == {"a.tar", "out"}


def test_links_and_what_a_mac_adds_are_left_out(tmp_path: Path) -> None:
    archive = tar(
        tmp_path / "a.tar",
        ("link", tarfile.SYMTYPE, str(tmp_path).encode()),
        ("hard", tarfile.LNKTYPE, b"link/x.png"),
        ("link/x.png", tarfile.REGTYPE, b"x"),
        ("link/._x.png", tarfile.REGTYPE, b"x"),
    )
    assert unpack(archive, tmp_path / "out") == 1
    assert not (tmp_path / "out" / "link").is_symlink()
    assert left_in(tmp_path / "out" / "link") == {"x.png"}


def test_file_that_is_not_an_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not an archive that can be unpacked"):
        unpack(Path(__file__), tmp_path / "out")
