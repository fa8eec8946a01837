"""Bundles are found by name or by folder, and no name leads out of the folder of bundles."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from models.bundle import BundleError, bundled
from models.registry import downloads_folder, encoders_folder, locate, pulled_names, pulled_path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOUPE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def copied(folder: Path) -> Path:
    return Path(shutil.copytree(bundled("fused-lite"), folder))


def test_bundled_name_is_found() -> None:
    assert locate("fused-lite") == bundled("fused-lite")


def test_pulled_name_is_found_and_listed(home: Path) -> None:
    assert pulled_names() == ()
    folder = copied(home / "encoders" / "Mine-1.0")
    (home / "encoders" / "no-bundle").mkdir()
    assert pulled_names() == ("Mine-1.0",)
    assert locate("Mine-1.0") == folder == pulled_path("Mine-1.0")


def test_folder_is_found_by_its_path(tmp_path: Path) -> None:
    folder = copied(tmp_path / "anywhere")
    assert locate(str(folder)) == folder


def test_unknown_name_is_refused_with_the_known_ones(home: Path) -> None:
    copied(home / "encoders" / "Mine")
    with pytest.raises(BundleError, match=r"unknown bundle 'Other', .*; known: fused-lite, Mine"):
        locate("Other")


@pytest.mark.parametrize("name", ["..", "a/b", "", ".hidden", "a\\b", "/etc"])
def test_name_that_is_no_plain_one_is_refused(name: str) -> None:
    with pytest.raises(BundleError, match="is not a name of a bundle"):
        pulled_path(name)
    with pytest.raises(BundleError, match="unknown bundle"):
        locate(name)


def test_folders_follow_the_environment(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (encoders_folder(), downloads_folder()) == (home / "encoders", home / "downloads")
    monkeypatch.delenv("LOUPE_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert encoders_folder() == tmp_path / "cache" / "loupe" / "encoders"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert encoders_folder() == tmp_path / ".cache" / "loupe" / "encoders"
