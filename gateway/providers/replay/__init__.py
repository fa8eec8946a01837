"""The simulated candidate pool: a separate OpenAI-compatible server that replays an outcome table.

Rule: no model is behind the pool, and every answer says so. It imports nothing of the gateway's request path, only
`gateway.errors` and prices from `gateway.billing`: to the gateway it is a provider like any other, behind HTTP.
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
