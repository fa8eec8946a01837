"""`loupe key`: make an API key."""

from __future__ import annotations

import argparse
import secrets

from gateway.settings import hash_key


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "The key is shown once and kept nowhere; its hash goes under tenants[].keys as `sha256`."


def run(_: argparse.Namespace) -> int:
    key = "sk-loupe-" + secrets.token_urlsafe(32)
    print(f"key:    {key}")
    print(f"sha256: {hash_key(key)}")
    return 0
