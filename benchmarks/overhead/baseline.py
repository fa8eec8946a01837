"""The pass-through that the gateway is compared with: FastAPI + httpx, as one writes it in five minutes, but well.

It has one shared client, reads the body once and sends it on unchanged, and sends streams on chunk by chunk. It does
nothing else: no key, no budget, no routing, no log. Run as `python -m benchmarks.overhead.baseline PORT PROVIDER_PORT`;
it uses uvicorn with uvloop and httptools, like the gateway itself.

The pool has httpx's default limits (100 connections, 20 of them kept alive), which measured best. With all 64 kept
alive, the pass-through is three to four times slower at c=64, because every request polls every idle connection.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from starlette.background import BackgroundTask


def build(provider: str) -> FastAPI:
    """Return the pass-through to a provider's base URL."""
    client = httpx.AsyncClient(timeout=60, trust_env=False)
    url = httpx.URL(f"{provider}/v1/chat/completions")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await client.aclose()

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/chat/completions")
    async def completions(request: Request) -> Response:
        body = await request.body()
        headers = {"content-type": "application/json", "authorization": request.headers["authorization"]}
        outgoing = client.build_request("POST", url, content=body, headers=headers)
        reply = await client.send(outgoing, stream=True)
        kind = reply.headers["content-type"]
        if kind.startswith("text/event-stream"):
            return StreamingResponse(
                reply.aiter_raw(), reply.status_code, media_type=kind, background=BackgroundTask(reply.aclose)
            )
        return Response(await reply.aread(), reply.status_code, media_type=kind)

    return app


if __name__ == "__main__":
    port, provider_port = sys.argv[1:]
    uvicorn.run(
        build(f"http://127.0.0.1:{provider_port}"),
        host="127.0.0.1",
        port=int(port),
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
    )
