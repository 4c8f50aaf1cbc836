"""Where exporters and importers of the suite meet: an exporter that listens, and Redis."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import pytest
import trio
from redis_servers import RedisServer
from support import serve_tcp

from trionetchan import Exporter, Importer, Limits, open_exporter, open_tcp_importer

_numbers = itertools.count()


class Place(Protocol):
    """Where exporters and importers meet."""

    name: str

    def exporter(self, **limits: Any) -> AbstractAsyncContextManager[Exporter]: ...
    def importer(self, **limits: Any) -> AbstractAsyncContextManager[Importer]: ...


class Listening:
    """The exporter listens on a port of its own."""

    name = "listening"

    def __init__(self) -> None:
        self._port = 0

    @asynccontextmanager
    async def exporter(self, **limits: Any) -> AsyncGenerator[Exporter]:
        async with open_exporter(limits=Limits(**limits)) as exporter, trio.open_nursery() as nursery:
            self._port = await serve_tcp(nursery, exporter)
            yield exporter
            nursery.cancel_scope.cancel()

    def importer(self, **limits: Any) -> AbstractAsyncContextManager[Importer]:
        return open_tcp_importer("127.0.0.1", self._port, limits=Limits(**limits))


class OnRedis:
    """Both are clients of a server that the test has started."""

    name = "redis"

    def __init__(self, server: RedisServer) -> None:
        self._url = server.url
        self._namespace = f"place{next(_numbers)}"

    def exporter(self, **limits: Any) -> Any:
        from trionetchan.redis import open_redis_exporter

        return open_redis_exporter(self._url, namespace=self._namespace, limits=Limits(**limits))

    def importer(self, **limits: Any) -> Any:
        from trionetchan.redis import open_redis_importer

        return open_redis_importer(self._url, namespace=self._namespace, wait_for_export=0.5, limits=Limits(**limits))


@pytest.fixture(params=["listening", "redis"])
def place(request: pytest.FixtureRequest) -> Place:
    """Each test runs once on each engine."""
    if request.param == "listening":
        return Listening()
    pytest.importorskip("coredis", reason="the extra `redis` is not installed")
    return OnRedis(request.getfixturevalue("redis"))
