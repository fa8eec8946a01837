"""Tenants and keys in Redis, for machines that share one: the registry is one value, changed by compare and set.

Redis must keep its data over a restart (`appendonly yes`), as for budgets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.exceptions import RedisError
from redis.retry import Retry

from gateway.errors import StoreError
from gateway.stores.tenant_rows import KeptSecret, read_key, read_tenant, settle_secret, write_key, write_tenant
from gateway.tenants.registry import TenantRegistry
from gateway.tenants.store import Marks, Result

ANSWER_S = 2.0


class RedisTenants:
    """Implements `TenantStore`. Open it before use. Its keys share a hash tag, so that a cluster keeps them in one
    place.
    """

    def __init__(self, url: str, prefix: str = "loupe") -> None:
        self._url = url
        self._registry, self._marks, self._used = (
            f"{prefix}:{{tenants}}:{name}" for name in ("roster", "marks", "used")
        )

    def open(self) -> None:
        """Connect. Raises StoreError when Redis does not answer."""
        self._redis: Redis = Redis.from_url(
            self._url,
            decode_responses=True,
            socket_timeout=ANSWER_S,
            socket_connect_timeout=ANSWER_S,
            retry=Retry(NoBackoff(), 0),
        )
        with _told():
            self._redis.ping()

    def close(self) -> None:
        self._redis.close()

    def secret(self, given: bytes | None) -> tuple[bytes, bool]:
        def settle(pipe: Pipeline) -> bytes:
            found = self._marked(pipe)
            kept = KeptSecret(found.get("secret", ""), found.get("secret_check", ""))
            secret, now_kept = settle_secret(given, kept, "Redis")
            pipe.multi()
            pipe.hset(self._marks, mapping={"secret": now_kept.secret, "secret_check": now_kept.check})
            return secret

        return self._in_one_step(settle), given is None

    def forget_secret(self) -> None:
        with _told():
            self._redis.hdel(self._marks, "secret", "secret_check")

    def load(self) -> tuple[TenantRegistry, Marks]:
        with _told(), self._redis.pipeline(transaction=True) as pipe:
            pipe.get(self._registry)
            pipe.hgetall(self._used)
            pipe.hgetall(self._marks)
            text, used, marked = pipe.execute()
        return _read(text, used), _read_marks(marked)

    def change(self, change: Callable[[TenantRegistry], tuple[TenantRegistry, Result]]) -> Result:
        def changed(pipe: Pipeline) -> Result:
            used: Any = pipe.hgetall(self._used)
            before = _read(pipe.get(self._registry), used)
            after, result = change(before)
            pipe.multi()
            if after != before:
                pipe.set(self._registry, _written(after))
                pipe.hincrby(self._marks, "version", 1)
            return result

        return self._in_one_step(changed)

    def marks(self) -> Marks:
        with _told():
            return _read_marks(self._marked(self._redis))

    def notify(self, notice: str) -> None:
        with _told():
            self._redis.hset(self._marks, "notice", notice)

    def note_used(self, hashes: Collection[str], at: float) -> None:
        with _told():
            self._redis.hset(self._used, mapping=dict.fromkeys(hashes, at))

    def _marked(self, redis: Redis) -> dict[str, str]:
        found: Any = redis.hgetall(self._marks)
        return dict(found)

    def _in_one_step(self, step: Callable[[Pipeline], Result]) -> Result:
        """Repeat `step` until no other process interferes: it reads, calls `multi`, and queues what to write."""
        results: list[Result] = []
        with _told():
            self._redis.transaction(lambda pipe: results.append(step(pipe)), self._registry, self._marks)
        return results[-1]


@contextmanager
def _told() -> Iterator[None]:
    """Raise Redis's errors as StoreError."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise StoreError(f"Redis: {error or type(error).__name__}") from error


def _written(registry: TenantRegistry) -> str:
    return json.dumps(
        {
            "tenants": [write_tenant(terms) for terms in registry.tenants.values()],
            "keys": [write_key(key) for key in registry.keys.values()],
            "read": dict(registry.provisioned),
        }
    )


def _read(text: Any, used: dict[str, str]) -> TenantRegistry:
    if not text:
        return TenantRegistry()
    raw = json.loads(text)
    tenants = [read_tenant(each) for each in raw["tenants"]]
    keys = [read_key(each, None) for each in raw["keys"]]
    at = {hashed: float(when) for hashed, when in used.items()}
    seen = [replace(key, last_used_at=at[key.hash]) if key.hash in at else key for key in keys]
    return TenantRegistry({terms.name: terms for terms in tenants}, {key.id: key for key in seen}, raw["read"])


def _read_marks(found: dict[str, str]) -> Marks:
    return Marks(int(found.get("version", "0")), found.get("notice", ""))
