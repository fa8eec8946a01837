"""Images out of a tar archive: each stands whole or not at all, and below the folder it was meant for."""

from __future__ import annotations

import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from gateway.errors import ConfigError
from routers.whole_file import whole_file

Progress = Callable[[int], None]
"""Called with how many files were seen."""


def unpack(archive: Path, folder: Path, progress: Progress) -> int:
    """Unpack files; one that is there in its full size is left. Returns how many the archive has.

    Links, devices and what the system itself adds (`._name`) are left out. Raises ConfigError: no archive, cut
    short, or with a path that leads out of the folder.
    """
    seen = 0
    try:
        with tarfile.open(archive, "r:*") as opened:
            for member in opened:
                if not member.isfile() or PurePosixPath(member.name).name.startswith("._"):
                    continue
                seen += 1
                _unpack_one(opened, member, folder)
                progress(seen)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ConfigError(f"{archive}: not an archive that can be unpacked: {error}") from error
    return seen


def _unpack_one(opened: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    parts = PurePosixPath(member.name).parts
    if not parts or parts[0] == "/" or ".." in parts or any("\\" in part or part[1:2] == ":" for part in parts):
        raise ConfigError(f"{opened.name!s}: {member.name!r} leads out of the folder; nothing more is unpacked")
    target = folder.joinpath(*parts)
    if target.is_file() and target.stat().st_size == member.size:
        return
    content = opened.extractfile(member)
    if content is None:  # a hard link to nothing
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with content, whole_file(target) as partial, partial.open("wb") as file:
        shutil.copyfileobj(content, file)
