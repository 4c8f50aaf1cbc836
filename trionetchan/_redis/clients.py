"""Clients of the engine, by URL: one server, a cluster, or whoever is the primary for some sentinels.

redis://[user[:password]@]host[:port][/db]                       one server
rediss://…                                                       the same with TLS
unix://[user[:password]@]/path/to/socket[?db=…]                  the same over a unix socket
redis+cluster://[user[:password]@]host[:port][,host[:port]…]     a cluster, by some of its nodes; rediss+cluster://…
redis+sentinel://[user[:password]@]host[:port][,…]/service[/db]  the primary of a service; rediss+sentinel://…
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncGenerator
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import coredis
from coredis.connection import TCPLocation
from coredis.retry import NoRetryPolicy

__all__ = ["client_of"]

CONNECT_TIMEOUT = 5.0  # seconds
PORT = 6379
SENTINEL_PORT = 26379


@contextlib.asynccontextmanager
async def client_of(url: str, ssl_context: ssl.SSLContext | None) -> AsyncGenerator[Any]:
    """A client, which has not connected yet. It belongs to the task that opens it. `ValueError` for another URL."""
    scheme, _, kind = urlsplit(url).scheme.partition("+")
    if scheme not in ("redis", "rediss", "unix") or kind not in ("", "cluster", "sentinel"):
        raise ValueError(
            f"expected a URL such as redis://host:port, got one that begins with {url.partition(':')[0]!r}"
        )
    if ssl_context is not None and scheme != "rediss":
        raise ValueError(f"expected an ssl_context with rediss://, got it with {scheme}://")
    if scheme == "rediss" and kind and ssl_context is None:
        ssl_context = ssl.create_default_context()
    if kind == "sentinel":
        async with _of_sentinels(url, ssl_context) as client:
            yield client
    else:
        async with _of_cluster(url, ssl_context) if kind else _of_server(url, ssl_context) as client:
            yield client


def _of_server(url: str, ssl_context: ssl.SSLContext | None) -> Any:
    options: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT, "retry_policy": NoRetryPolicy()}
    if urlsplit(url).scheme == "rediss":
        options["ssl_context"] = ssl_context or ssl.create_default_context()
    return cast("Any", coredis.Redis).from_url(url, decode_components=True, **options)


def _of_cluster(url: str, ssl_context: ssl.SSLContext | None) -> Any:
    locations, options = _parts(url, PORT)
    return coredis.RedisCluster(
        startup_nodes=locations, ssl_context=ssl_context, connect_timeout=CONNECT_TIMEOUT, **options
    )


@contextlib.asynccontextmanager
async def _of_sentinels(url: str, ssl_context: ssl.SSLContext | None) -> AsyncGenerator[Any]:
    locations, options = _parts(url, SENTINEL_PORT)
    service, _, db = urlsplit(url).path.strip("/").partition("/")
    if not service:
        raise ValueError(f"expected the name of a service, as in redis+sentinel://host/service, got {url!r}")
    if ssl_context is not None:
        options["ssl_context"] = ssl_context
    sentinel = coredis.Sentinel(
        locations, connect_timeout=CONNECT_TIMEOUT, db=int(db or 0), retry_policy=NoRetryPolicy(), **options
    )
    async with sentinel, sentinel.primary_for(service) as client:
        yield client


def _parts(url: str, port: int) -> tuple[list[TCPLocation], dict[str, Any]]:
    """The hosts of a URL, and who to be there."""
    who, _, hosts = urlsplit(url).netloc.rpartition("@")
    user, _, password = who.partition(":")
    options = {"username": unquote(user) or None, "password": unquote(password) or None}
    locations: list[TCPLocation] = []
    for each in hosts.split(","):
        host, colon, number = each.rpartition(":")
        if not colon or number.endswith("]"):
            host, number = each, str(port)
        locations.append(TCPLocation(host.strip("[]"), int(number)))
    return locations, options
