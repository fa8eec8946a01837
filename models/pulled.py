"""Where encoders are kept that do not come with Loupe: one folder a bundle, under the bundle's name."""

from __future__ import annotations

import os
import re
from pathlib import Path

from models.bundle import BUNDLED, MANIFEST, BundleError, bundled

HOME_VARIABLE = "LOUPE_HOME"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def encoders_folder() -> Path:
    """`$LOUPE_HOME/encoders`; without the variable, `loupe/encoders` in the user's cache folder."""
    return _home() / "encoders"


def downloads_folder() -> Path:
    """Beside it: where files are kept until a bundle is made of them."""
    return _home() / "downloads"


def pulled_names() -> tuple[str, ...]:
    """Names of the bundles in the folder, sorted."""
    folder = encoders_folder()
    if not folder.is_dir():
        return ()
    return tuple(sorted(path.name for path in folder.iterdir() if (path / MANIFEST).is_file()))


def pulled_path(name: str) -> Path:
    """The folder of a bundle of that name, whether it is there or not. Raises BundleError for no plain name."""
    if not _NAME.fullmatch(name):
        raise BundleError(f"{name!r} is no name of a bundle")
    return encoders_folder() / name


def locate(name: str) -> Path:
    """The folder of a bundle by its name (bundled or pulled) or by its own path. Raises BundleError: no such thing."""
    if name in BUNDLED:
        return bundled(name)
    if (Path(name) / MANIFEST).is_file():
        return Path(name)
    if _NAME.fullmatch(name) and (pulled_path(name) / MANIFEST).is_file():
        return pulled_path(name)
    known = ", ".join(dict.fromkeys((*BUNDLED, *pulled_names())))
    raise BundleError(f"there is no bundle {name!r}, neither as a folder nor by name; there is {known}")


def _home() -> Path:
    if home := os.environ.get(HOME_VARIABLE):
        return Path(home)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "loupe"
