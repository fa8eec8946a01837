"""What keeps a router from being put into service is told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli.routers.arguments import or_else
from gateway.errors import ConfigError
from routers.artifact import ArtifactError


def test_a_broken_artifact_is_told_as_what_was_not_done() -> None:
    with pytest.raises(ConfigError, match=r"^not promoted: it is broken$"), or_else("not promoted"):
        raise ArtifactError("it is broken")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none"
    with pytest.raises(ConfigError) as told, or_else("not rolled back"):
        missing.read_bytes()
    assert str(told.value) == f"not rolled back: {missing}: No such file or directory"
