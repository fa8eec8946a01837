"""The judgement of a run: the three laws, every request that broke one, and the table of the page."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.common.result import bullets
from benchmarks.providers.client import Answer
from benchmarks.providers.families import FAMILIES, Family
from benchmarks.providers.gateway import Charged
from gateway.billing.money import from_usd

OWN_COUNT_WITHIN = 0.05
"""How far the charges may be from the bills, over all replies whose provider told no usage."""
REST_MARGIN_S = 0.5
"""Seconds after a provider's rest in which the gateway may not yet have noticed that it is over."""
SHOWN = 5


@dataclass(frozen=True)
class Run:
    """What the clients, the providers and the gateway each wrote down. Money is in nanodollars."""

    answers: Sequence[Answer]
    books: Mapping[str, Any]
    charged: Mapping[str, Charged]
    spent: int
    held: int


def report(run: Run) -> dict[str, Any]:
    """Return the result: counts, money, and `broken`, which has each law's breaches."""
    failed: dict[str, set[str]] = defaultdict(set)
    for request_id, provider, _ in run.books["failed"]:
        failed[request_id].add(provider)
    refusals: dict[str, list[Any]] = defaultdict(list)
    for request_id, provider, status, body in run.books["refused"]:
        refusals[request_id].append([provider, status, body])
    bills: Counter[str] = Counter()
    untold: set[str] = set()
    for row in run.books["served"]:
        bills[row["id"]] += row["nanodollars"]
        if not row["told"]:
            untold.add(row["id"])
    resting = run.books["resting"]
    able = {a.request.number: _able(a, a.request.servers(), failed[a.request_id], resting) for a in run.answers}
    missed = [a for a in run.answers if not a.is_served and not _is_for_the_cap(a)]
    adaptable = [a for a in missed if _able(a, a.request.adapted_servers(), failed[a.request_id], resting)]
    rested = [a for a in missed if 400 <= a.status < 429 and not able[a.request.number] and a.request.servers()]
    unserved = [a for a in missed if able[a.request.number]]
    ids = [*bills.keys() | run.charged.keys()]
    told = [i for i in ids if i not in untold]
    wrong = [i for i in told if bills[i] != _cost(run, i)]
    broken = {
        "served": [_unserved(a, able[a.request.number], refusals[a.request_id]) for a in unserved],
        "billed": [_billed(run, i, bills[i]) for i in wrong],
        "capped": _over_cap(run, bills),
    }
    own = (sum(_cost(run, i) for i in untold), sum(bills[i] for i in untold))
    gap = own[0] / own[1] - 1 if own[1] else 0.0
    books_agree = run.held == 0 and run.spent == sum(row.cost for row in run.charged.values())
    return {
        "requests": len(run.answers),
        "could be served": sum(bool(found) for found in able.values()),
        "served": sum(a.is_served for a in run.answers),
        "refused although one could serve": len(unserved),
        "refused although one could serve without tunings": len(adaptable),
        "refused for good while one that could serve rested": len(rested),
        "refused under a cap that may be too little": sum(_is_for_the_cap(a) for a in run.answers),
        "served by adapting what no provider takes as it is": sum(
            a.is_served and not able[a.request.number] for a in run.answers
        ),
        "refusals of providers": len(run.books["refused"]),
        "transient faults of providers": len(run.books["failed"]),
        "statuses": dict(sorted(Counter(str(a.status) for a in run.answers).items())),
        "billed with usage, nanodollars": sum(bills[i] for i in told),
        "charged with usage, nanodollars": sum(_cost(run, i) for i in told),
        "requests charged otherwise than billed": len(wrong),
        "billed without usage, nanodollars": own[1],
        "charged without usage, nanodollars": own[0],
        "charged over billed without usage": round(gap, 4),
        "requests over their cap": len(broken["capped"]),
        "held at the end, nanodollars": run.held,
        "window equals the decision log": books_agree,
        "by provider": _by_provider(run, untold),
        "broken": broken,
        "holds": not any(broken.values()) and abs(gap) <= OWN_COUNT_WITHIN and books_agree,
    }


def _able(answer: Answer, servers: Sequence[Family], failed: set[str], resting: Sequence[Any]) -> list[str]:
    """Return those of the providers that could serve this request all the time that it took."""
    out = {name for name, since, until in resting if since <= answer.ended and answer.began <= until + REST_MARGIN_S}
    return [f.name for f in servers if f.name not in failed and f.name not in out]


def _is_for_the_cap(answer: Answer) -> bool:
    """Return whether the request's cap may have left no provider that could serve: its worst case must fit the cap."""
    return answer.request.is_tight and not answer.is_served


def _cost(run: Run, request_id: str) -> int:
    row = run.charged.get(request_id)
    return 0 if row is None else row.cost


def _over_cap(run: Run, bills: Mapping[str, int]) -> list[dict[str, Any]]:
    found = []
    for answer in run.answers:
        cap = answer.request.cap_usd
        paid = max(_cost(run, answer.request_id), bills.get(answer.request_id, 0))
        if cap is not None and paid > from_usd(cap):
            found.append({"law": "capped", "number": answer.request.number, "cap_usd": cap, "nanodollars": paid})
    return found


def _unserved(answer: Answer, able: list[str], refusals: list[Any]) -> dict[str, Any]:
    request = answer.request
    members = {name: value for name, value in request.body.items() if name not in ("messages", "tools", "model")}
    return {
        "law": "served",
        "number": request.number,
        "kind": request.kind,
        "members": members,
        "roles": [message["role"] for message in request.body["messages"]][:2],
        "allowed": request.allowed,
        "cap_usd": request.cap_usd,
        "able": able,
        "status": answer.status,
        "fault": answer.fault,
        "body": answer.body,
        "candidate": answer.candidate,
        "reason": answer.reason,
        "refusals": refusals,
    }


def _billed(run: Run, request_id: str, bill: int) -> dict[str, Any]:
    rows = [row for row in run.books["served"] if row["id"] == request_id]
    own = run.charged.get(request_id)
    number = next((a.request.number for a in run.answers if a.request_id == request_id), None)
    return {"law": "billed", "number": number, "bill": bill, "pool": rows, "gateway": None if own is None else str(own)}


def _by_provider(run: Run, untold: set[str]) -> list[dict[str, Any]]:
    served = Counter(row["provider"] for row in run.books["served"])
    refused = Counter(provider for _, provider, *_ in run.books["refused"])
    failed = Counter(provider for _, provider, _ in run.books["failed"])
    rows = []
    for name in (family.name for family in FAMILIES):
        mine = [row for row in run.books["served"] if row["provider"] == name]
        told = [row for row in mine if row["id"] not in untold]
        own = [row for row in mine if row["id"] in untold]
        rows.append(
            {
                "provider": name,
                "served": served[name],
                "refused": refused[name],
                "failed": failed[name],
                "with_usage": len(told),
                "billed_usd": sum(row["nanodollars"] for row in mine) / 1e9,
                "own_count_off": _gap(run, own),
            }
        )
    return rows


def _gap(run: Run, rows: Sequence[Mapping[str, Any]]) -> float | None:
    billed = sum(row["nanodollars"] for row in rows)
    return round(sum(_cost(run, row["id"]) for row in rows) / billed - 1, 4) if billed else None


def in_markdown(result: Mapping[str, Any]) -> str:
    """Return the result as lines of Markdown."""
    hidden = ("by provider", "broken", "holds")
    lines = bullets(result, [name for name in result if name not in hidden])
    lines += ["", "| provider | served | refused | failed | told usage | billed USD | own count off |"]
    lines += ["|---|--:|--:|--:|--:|--:|--:|"]
    for row in result["by provider"]:
        off = "-" if row["own_count_off"] is None else f"{row['own_count_off']:+.1%}"
        counts = f"{row['served']} | {row['refused']} | {row['failed']} | {row['with_usage']}"
        lines.append(f"| {row['provider']} | {counts} | {row['billed_usd']:.4f} | {off} |")
    lines.append("")
    lines.append("All laws hold." if result["holds"] else "A LAW IS BROKEN.")
    return "\n".join(lines)
