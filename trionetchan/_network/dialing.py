"""How an importer gets a stream to its exporter: the first, and another one when that has broken."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from .._identity import Token
from .._instruments import operation
from .transport import check_ssl_context, is_out_of_files, out_of_files_error, transport_over

__all__ = ["Dial", "by_calling", "check_may_show", "checked", "open_tcp_stream", "pauses", "tcp", "unix"]

Dial = Callable[[], AbstractAsyncContextManager[trio.abc.Stream]]
"""Opens a stream, and lets go what it needs beside it at the end. `OSError` if there is nobody to connect to."""

FIRST_PAUSE = 0.02  # seconds
LONGEST_PAUSE = 2.0


async def open_tcp_stream(host: str, port: int, timeout: float) -> trio.abc.Stream:
    """As trio's, but `OSError` after `timeout` seconds: the system would go on for minutes, in ever longer steps."""
    with _naming_lack_of_files(), trio.move_on_after(timeout):
        return await trio.open_tcp_stream(host, port)
    raise OSError(errno.ETIMEDOUT, f"expected a connection to {host}:{port} within {timeout:g} s, got none")


def tcp(host: str, port: int, ssl_context: ssl.SSLContext | None, server_hostname: str | None, timeout: float) -> Dial:
    """Over TCP, with TLS if there is an `ssl_context`. `timeout` in seconds, of one attempt."""
    if ssl_context is not None:
        check_ssl_context(ssl_context, server=False)

    @asynccontextmanager
    async def dial() -> AsyncGenerator[trio.abc.Stream]:
        with operation("connect", address=f"{host}:{port}"):
            stream = await open_tcp_stream(host, port, timeout)
        if ssl_context is not None:
            stream = trio.SSLStream(stream, ssl_context, server_hostname=server_hostname or host)
        yield stream

    return dial


def unix(path: str | os.PathLike[str]) -> Dial:
    """Over a unix socket."""

    @asynccontextmanager
    async def dial() -> AsyncGenerator[trio.abc.Stream]:
        with operation("connect", address=os.fspath(path)), _naming_lack_of_files():
            stream = await trio.open_unix_socket(os.fspath(path))
        yield stream

    return dial


def by_calling(open_stream: Callable[[], Awaitable[trio.abc.Stream]]) -> Dial:
    """Over what this returns."""

    @asynccontextmanager
    async def dial() -> AsyncGenerator[trio.abc.Stream]:
        with operation("connect", address=""):
            stream = await open_stream()
        yield stream

    return dial


def checked(dial: Dial, token: Token | None) -> Dial:
    """The same, but `ValueError` for a stream on which this token may not be shown; that is closed."""

    @asynccontextmanager
    async def dial_and_check() -> AsyncGenerator[trio.abc.Stream]:
        async with dial() as stream:
            try:
                check_may_show(token, stream)
            except ValueError:
                await trio.aclose_forcefully(stream)
                raise
            yield stream

    return dial if token is None else dial_and_check


def check_may_show(token: Token | None, stream: trio.abc.Stream) -> None:
    """`ValueError` if others may be able to read the token on this stream, and that is not allowed."""
    if token is not None and not (token.allow_plain or transport_over(stream).confidential):
        raise ValueError(
            f"token: expected TLS (`ssl_context=`) or a unix socket, got {stream!r}, where others may be able to read "
            "it; `allow_plain_token=True` shows it all the same"
        )


@contextlib.contextmanager
def _naming_lack_of_files() -> Generator[None]:
    """Where this process has no file descriptor left, trio says only that it could not connect."""
    try:
        yield
    except OSError as error:
        if is_out_of_files(error):
            raise out_of_files_error() from error
        raise


def pauses() -> Generator[float]:
    """How long, in seconds, to wait before each attempt to connect again: not at all, then longer and longer.

    By chance up to half of it less: when an exporter is back, its importers do not come all at once.
    """
    yield 0
    pause = FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1)
        pause = min(2 * pause, LONGEST_PAUSE)
