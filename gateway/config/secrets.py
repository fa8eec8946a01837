"""Secrets from the environment, and hashes of keys. A secret is never in the configuration file."""

from __future__ import annotations

import hashlib
import os

from gateway.errors import ConfigError

SHORTEST_SECRET = 16


def secret_from(variable: str) -> str:
    """Return the value of an environment variable, without the space around it: a secret that was made from a file
    often ends with a newline. Raises ConfigError when it is unset or empty.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigError(f"the environment variable {variable} is not set")
    return value


def key_secret(variable: str) -> bytes | None:
    """Return the secret for hashing keys; None when its variable is not set. Raises ConfigError for a short secret.

    The value is returned as it is: the store may know it with the newline at its end (`stores.tenant_rows`).
    """
    value = os.environ.get(variable, "")
    if value and len(value.strip()) < SHORTEST_SECRET:
        raise ConfigError(f"the environment variable {variable} is too short: {SHORTEST_SECRET} characters or more")
    return value.encode() or None


def hash_key(key: str) -> str:
    """Return the hex sha256 of an API key. Keys are long and random, so a plain hash cannot be reversed by search."""
    return hashlib.sha256(key.encode()).hexdigest()
