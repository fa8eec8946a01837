"""Secrets from the environment, and keys' hashes; never a secret in the file."""

from __future__ import annotations

import hashlib
import os

from gateway.errors import ConfigError

SHORTEST_SECRET = 16


def secret_from(variable: str) -> str:
    """The value of an environment variable. Raises ConfigError when it is unset or empty."""
    value = os.environ.get(variable, "")
    if not value:
        raise ConfigError(f"the environment variable {variable} is not set")
    return value


def key_secret(variable: str) -> bytes | None:
    """The secret that keys are hashed with; None when its variable is not set. Raises ConfigError for a short one."""
    value = os.environ.get(variable, "")
    if value and len(value) < SHORTEST_SECRET:
        raise ConfigError(f"the environment variable {variable} is too short: {SHORTEST_SECRET} characters or more")
    return value.encode() or None


def hash_key(key: str) -> str:
    """Hex sha256 of an API key: keys are long and random, so a plain hash cannot be searched."""
    return hashlib.sha256(key.encode()).hexdigest()
