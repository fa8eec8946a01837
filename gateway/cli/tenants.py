"""`loupe tenants`: list, create, update and delete tenants in the store."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable
from typing import Any

from gateway.cli.arguments import add_budgets, add_config, members, names, opened, read_as, show
from gateway.tenants.management import TenantManagement
from gateway.tenants.registry import TenantSettings
from gateway.tenants.schema import TenantConfig, tenant_as_written

COLUMNS = ("name", "budgets", "candidates", "quality_weight", "on_infeasible", "created_at", "provisioned")
PACING_HELP = "off, learned, even, or plan=even,burst=0.1"
EXPLORATION_HELP = "off, on, or rate=0.05,gamma=50,slack=0.1,optimism=0,budget_share=0.02"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "A running gateway of the same store sees every change within a second. A tenant that the configuration names "
        "is provisioned: it changes there, and here it is only listed."
    )
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add_config(commands.add_parser("list", help="all tenants"))
    for action, summary in (("create", "add a tenant"), ("update", "change what is named, keep the rest")):
        command = commands.add_parser(action, help=summary)
        add_config(command)
        command.add_argument("name")
        add_budgets(command)
        command.add_argument("--no-budgets", action="store_true", help="no limit")
        command.add_argument("--candidates", type=names, metavar="A,B", help="allow-list; `all` for all there are")
        command.add_argument("--quality-weight", type=float, metavar="0..1")
        command.add_argument("--on-infeasible", choices=("refuse", "cheapest"))
        command.add_argument("--pacing", type=_pacing, metavar="WORDS", help=PACING_HELP)
        command.add_argument("--exploration", type=_section, metavar="WORDS", help=EXPLORATION_HELP)
    command = commands.add_parser("delete", help="delete a tenant and revoke its keys; what it spent is kept")
    add_config(command)
    command.add_argument("name")


def run(arguments: argparse.Namespace) -> int:
    with opened(arguments.config) as found:
        {"list": _list, "create": _create, "update": _update, "delete": _delete}[arguments.action](arguments, found)
    return 0


def _list(arguments: argparse.Namespace, found: TenantManagement) -> None:
    registry = found.registry()
    _show(registry.tenants.values(), arguments.json, registry.provisioned)


def _create(arguments: argparse.Namespace, found: TenantManagement) -> None:
    body = read_as(TenantConfig, {"name": arguments.name, **_terms(arguments)})
    _show([found.create_tenant(body)], arguments.json)


def _update(arguments: argparse.Namespace, found: TenantManagement) -> None:
    _show([found.update_tenant(arguments.name, _terms(arguments))], arguments.json)


def _delete(arguments: argparse.Namespace, found: TenantManagement) -> None:
    found.delete_tenant(arguments.name)
    print(f"{arguments.name} is deleted, and its keys are revoked")


def _terms(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return only the given terms."""
    terms: dict[str, Any] = {}
    if arguments.budget or arguments.no_budgets:
        terms["budgets"] = arguments.budget or []
    if arguments.candidates is not None:
        terms["candidates"] = None if arguments.candidates == ["all"] else arguments.candidates
    for name in ("quality_weight", "on_infeasible", "pacing", "exploration"):
        if getattr(arguments, name) is not None:
            terms[name] = getattr(arguments, name)
    return terms


def _pacing(words: str) -> bool | dict[str, str]:
    return _section(f"plan={words}" if words in ("learned", "even") else words)


def _section(words: str) -> bool | dict[str, str]:
    """Parse `on`, `off`, or members as `name=value,...`."""
    return words == "on" if words in ("on", "off") else members(words)


def _show(tenants: Iterable[TenantSettings], as_json: bool, provisioned: Collection[str] = ()) -> None:
    rows = [{**tenant_as_written(terms), "provisioned": terms.name in provisioned} for terms in tenants]
    show(rows, COLUMNS, as_json)
