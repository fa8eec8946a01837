"""What a candidate can do: data that is compared with what a request needs, by one operation per candidate.

A request *needs* what changes its meaning: pictures, files, tools, a schema, several replies. A candidate that lacks
it is left out, with a reason. A request may also *tune* its reply (temperature, seed): a candidate that does not take a
tuning member is sent the request without it, and the reply's header `X-Route-Dropped` names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

IMAGES = 1
PDF = 2
AUDIO = 4
TOOLS = 8
JSON_SCHEMA = 16
JSON_OBJECT = 32
LOGPROBS = 64
CHOICES = 128
STOP = 256
LOGIT_BIAS = 512


class Requirement(NamedTuple):
    """A capability that a request may need.

    Attributes:
        bit: its place in a set of needs, which is a whole number.
        dropped: the reason why a candidate without it is left out.
        members: members of the body that only matter with it; a candidate without it is not sent them.
    """

    bit: int
    dropped: str
    members: tuple[str, ...] = ()


NEEDS: Mapping[str, Requirement] = MappingProxyType(
    {
        "images": Requirement(IMAGES, "sees_no_images"),
        "pdf": Requirement(PDF, "reads_no_pdf"),
        "audio": Requirement(AUDIO, "hears_no_audio"),
        "tools": Requirement(
            TOOLS, "calls_no_tools", ("tools", "tool_choice", "functions", "function_call", "parallel_tool_calls")
        ),
        "json_schema": Requirement(JSON_SCHEMA, "follows_no_json_schema"),
        "json_object": Requirement(JSON_OBJECT, "promises_no_json_object"),
        "logprobs": Requirement(LOGPROBS, "gives_no_logprobs", ("logprobs", "top_logprobs")),
        "n": Requirement(CHOICES, "gives_one_choice_only", ("n",)),
        "stop": Requirement(STOP, "takes_no_stop", ("stop",)),
        "logit_bias": Requirement(LOGIT_BIAS, "takes_no_logit_bias", ("logit_bias",)),
    }
)
"""What changes the meaning of a reply. The numbers of `logit_bias` belong to one tokenizer, so it is here."""

TUNING = (
    "temperature",
    "top_p",
    "top_k",
    "top_a",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "verbosity",
    "reasoning_effort",
    "reasoning",
    "parallel_tool_calls",
    "prediction",
    "service_tier",
    "store",
    "metadata",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "provider",
    "transforms",
)
"""Members that only tune a reply, or its handling."""

DEVELOPER_ROLE = "developer_role"
"""The role `developer`; to a candidate without it such a message is sent as `system`."""

CAPABILITIES = (*NEEDS, *TUNING, DEVELOPER_ROLE)
"""All names, as a configuration declares them."""

REASONS: Mapping[int, str] = MappingProxyType({need.bit: need.dropped for need in NEEDS.values()})


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one candidate can do: everything but what `without` names.

    Attributes:
        without: names of `CAPABILITIES`.
        lacks: the bits of the needs that it cannot meet.
        drops: members of the body that it is not sent.
        knows_developer: False if messages of the role `developer` are sent to it as `system`.
    """

    without: frozenset[str] = frozenset()
    lacks: int = field(init=False, repr=False, compare=False)
    drops: frozenset[str] = field(init=False, repr=False, compare=False)
    knows_developer: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raise ValueError for a name that is not one of `CAPABILITIES`."""
        unknown = sorted(self.without.difference(CAPABILITIES))
        if unknown:
            raise ValueError(f"unknown capability {unknown[0]!r}; known: {', '.join(CAPABILITIES)}")
        lacks = 0
        drops = {name for name in TUNING if name in self.without}
        for name, need in NEEDS.items():
            if name in self.without:
                lacks |= need.bit
                drops.update(need.members)
        if lacks & JSON_SCHEMA and lacks & JSON_OBJECT:
            drops.add("response_format")
        object.__setattr__(self, "lacks", lacks)
        object.__setattr__(self, "drops", frozenset(drops))
        object.__setattr__(self, "knows_developer", DEVELOPER_ROLE not in self.without)

    def declared(self, changes: Mapping[str, bool]) -> Capabilities:
        """Return these capabilities with what a configuration declares. Raises ValueError for an unknown name."""
        lost = {name for name, has in changes.items() if not has}
        won = {name for name, has in changes.items() if has}
        known = won.difference(CAPABILITIES)
        if known:
            raise ValueError(f"unknown capability {min(known)!r}; known: {', '.join(CAPABILITIES)}")
        return Capabilities((self.without | lost) - won)


ASSUMED = Capabilities(frozenset({"pdf", "audio"}))
"""What is assumed of a model that nothing is known about: everything but files and sound, which have to be declared,
because few models take them and their bill differs.
"""


def lacking(missing: int) -> str:
    """Return the reason for a set of unmet needs that is not empty: the first one's."""
    return REASONS[missing & -missing]
