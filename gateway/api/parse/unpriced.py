"""Members of a request that would make a provider charge more than tokens at list price: no estimate covers them.

What is held must cover what can be billed, so they are refused and named rather than passed on or dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from gateway.api.parse.decode import decode, shown
from gateway.errors import InvalidRequest

LISTED_TIERS = (None, "auto", "default", "flex", "standard", "standard_only")
"""Those at list price or below; `priority` costs about twice."""
CHARGED_APART = {
    "web_search_options": "searches are charged by their number",
    "plugins": "plugins are charged separately",
    "models": "another model would be charged at its own price: name candidates by X-Candidates",
}
_ANY = msgspec.json.Decoder(Any)


def refuse_charged_apart(fields: Mapping[str, Raw]) -> None:
    """Raises InvalidRequest, naming the member and why. Members that are null, false or empty ask for nothing."""
    for name, why in CHARGED_APART.items():
        if name in fields and decode(_ANY, fields[name], name) not in (None, False, [], ""):
            raise InvalidRequest(f"{name}: {why}, which no budget could cover", param=name)
    if "service_tier" in fields and decode(_ANY, fields["service_tier"], "service_tier") not in LISTED_TIERS:
        tier = shown(fields["service_tier"])
        what = f"service_tier: {tier} is not charged at list price; leave it out, or ask for auto, default or flex"
        raise InvalidRequest(what, param="service_tier")
    if "modalities" in fields and decode(_ANY, fields["modalities"], "modalities") not in (None, [], ["text"]):
        what = f"modalities: {shown(fields['modalities'])}: only text is priced"
        raise InvalidRequest(what, param="modalities")
