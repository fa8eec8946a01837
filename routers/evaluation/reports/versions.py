"""The versions of the interpreter and of the packages that figures were made with, because figures depend on them."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("loupe-gateway", "numpy", "scikit-learn")


def package_versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of these packages by name, and Python's own version."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def in_words(versions: Mapping[str, str]) -> str:
    """Return the versions as one line, such as `python 3.11.7, numpy 2.1.3`."""
    return ", ".join(f"{name} {found}" for name, found in versions.items())
