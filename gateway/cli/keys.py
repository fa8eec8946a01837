"""`loupe keys`: make, list, revoke and rotate API keys in the store, or make one for the configuration file."""

from __future__ import annotations

import argparse
import json
import secrets
import time

from gateway.cli.arguments import add_budgets, add_config, moment, names, opened, read_as, seconds, show
from gateway.config.secrets import hash_key
from gateway.errors import ConfigError
from gateway.tenants.management import KEY_PREFIX, NewKey, TenantManagement
from gateway.tenants.schema import KeyConfig, key_as_written

COLUMNS = ("id", "tenant", "name", "state", "expires", "budgets", "candidates", "last_used_at", "provisioned")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "A key is shown once, when it is made. A running gateway sees every change within a second. A key that the "
        "configuration names is provisioned: it changes there, and here it is only listed."
    )
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = commands.add_parser("create", help="make a key for a tenant and print it, once")
    add_config(create)
    create.add_argument("--tenant", required=True)
    create.add_argument("--name", help="names the key's own windows; its id when left out")
    create.add_argument("--expires", type=moment, metavar="WHEN", help="2027-01-31T00:00:00Z, or 30d from now")
    add_budgets(create)
    create.add_argument("--candidates", type=names, metavar="A,B", help="fewer than the tenant's")
    command = commands.add_parser("list", help="all keys, without the keys themselves")
    add_config(command)
    command.add_argument("--tenant")
    command.add_argument("--all", action="store_true", help="also those that have ended")
    command = commands.add_parser("revoke", help="let a key end now")
    add_config(command)
    command.add_argument("id", nargs="?")
    command.add_argument(
        "--all", action="store_true", help="every key of every tenant, and forget the secret they are hashed with"
    )
    command = commands.add_parser("rotate", help="make a key in the place of another and print it, once")
    add_config(command)
    command.add_argument("id")
    command.add_argument("--grace", type=seconds, default=0.0, metavar="24h", help="how long the old one goes on; 0s")
    commands.add_parser("make", help="make a key for the configuration file: print it and its sha256, store nothing")


def run(arguments: argparse.Namespace) -> int:
    if arguments.action == "make":
        key = KEY_PREFIX + secrets.token_urlsafe(32)
        print(f"key:    {key}\nsha256: {hash_key(key)}")
        return 0
    if arguments.action == "revoke" and (arguments.id is None) != arguments.all:
        raise ConfigError("revoke takes the id of a key, or --all")
    with opened(arguments.config, any_secret=arguments.action in ("list", "revoke")) as found:
        {"create": _create, "list": _list, "revoke": _revoke, "rotate": _rotate}[arguments.action](arguments, found)
    return 0


def _create(arguments: argparse.Namespace, found: TenantManagement) -> None:
    given = {name: getattr(arguments, name) for name in ("name", "expires", "candidates")}
    terms = read_as(KeyConfig, {**given, "budgets": arguments.budget})
    _show_once(found.create_key(arguments.tenant, terms), arguments.json)


def _list(arguments: argparse.Namespace, found: TenantManagement) -> None:
    registry, now = found.registry(), time.time()
    if arguments.tenant is not None:
        registry.tenant(arguments.tenant)
    rows = [
        key_as_written(key, now)
        for key in registry.keys.values()
        if arguments.tenant in (None, key.tenant) and (arguments.all or key.stands(now))
    ]
    show(rows, COLUMNS, arguments.json)


def _revoke(arguments: argparse.Namespace, found: TenantManagement) -> None:
    revoked = found.revoke_all() if arguments.all else [found.revoke_key(arguments.id)]
    show([key_as_written(key, time.time()) for key in revoked], COLUMNS, arguments.json)
    if not arguments.json and any(key.origin == "yaml" for key in revoked):
        print("those of the configuration come back at a start under another secret; under this one they stay revoked")


def _rotate(arguments: argparse.Namespace, found: TenantManagement) -> None:
    _show_once(found.rotate_key(arguments.id, arguments.grace), arguments.json)


def _show_once(made: NewKey, as_json: bool) -> None:
    shown = key_as_written(made.record, made.record.created_at)
    if as_json:
        print(json.dumps({**shown, "key": made.secret}, indent=2))
        return
    print(f"key:    {made.secret}\nid:     {made.record.id}\ntenant: {made.record.tenant}\nname:   {made.record.name}")
    print("It is shown this once and kept nowhere.")
