"""The simulated candidate pool: an OpenAI-compatible server of its own that replays an outcome table.

Rule: there is no model behind it and it says so in every answer. It imports nothing of the gateway's path,
only `gateway.errors`: to the gateway it is a provider like any other, behind HTTP.
"""

from __future__ import annotations

from gateway.providers.replay.app import ReplayApp
from gateway.providers.replay.faults import Faults
from gateway.providers.replay.reply import final_answer
from gateway.providers.replay.server import listen, run_server, serving
from gateway.providers.replay.table import ReplayTable, read_table

__all__ = [
    "Faults",
    "ReplayApp",
    "ReplayTable",
    "final_answer",
    "listen",
    "read_table",
    "run_server",
    "serving",
]
