"""The exporter: `python -m benchmarks.hostile.exporter NEEDS TRACED`. It serves on, whatever comes, and counts.

"state" tells what it has; "collect" does so after a garbage collection, and forgets the most memory so far; "take" has
the program take what it has left lying.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import importlib
import logging
import os
import ssl
import sys
import traceback
import tracemalloc
from typing import Any

import attrs
import trio

from trionetchan import BoundListener, Exporter, open_exporter

from ..measure import UnableError, allow_files
from .cases import Needs
from .commands import commands, say

FILES = 6000
BLOB = bytes(2**16)
WIDE = attrs.make_class(
    "Wide", {f"{'field ' * 40}{number}".replace(" ", "_"): attrs.field(type=int) for number in range(115)}
)
UNION = int | str | bytes | float | None | list[int] | dict[str, Any]


class Counted(logging.Handler):
    """Counts the log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = 0
        self.tracebacks = 0
        self.first = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += 1
        if record.exc_info:
            self.tracebacks += 1
            self.first = self.first or "".join(traceback.format_exception(*record.exc_info))[-500:]


def _server_context() -> ssl.SSLContext:
    try:
        trustme: Any = importlib.import_module("trustme")
    except ModuleNotFoundError:
        raise UnableError("trustme is not installed") from None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


async def _feed(end: trio.abc.SendChannel[Any], value: object) -> None:
    while True:
        await end.send(value)


async def _feed_nothing(end: trio.abc.SendChannel[Any]) -> None:
    async with end:
        await trio.sleep_forever()


async def _take(end: trio.abc.ReceiveChannel[Any]) -> None:
    async for _ in end:
        pass


@attrs.define
class Left:
    """What the program leaves lying until it is allowed to take it."""

    allowed: trio.Event = attrs.field(factory=trio.Event)
    taken: int = 0

    async def take(self, end: trio.abc.ReceiveChannel[Any]) -> None:
        await self.allowed.wait()
        async for _ in end:
            self.taken += 1


def _open_channels(exporter: Exporter, nursery: trio.Nursery, left: Left) -> None:
    """Names to be attacked, and the one that the healthy importer uses."""
    nursery.start_soon(_feed, exporter.open_send_channel("healthy", int), 1)
    nursery.start_soon(_feed, exporter.open_send_channel("numbers", int), 1)
    nursery.start_soon(_feed, exporter.open_send_channel("blobs", bytes), BLOB)
    nursery.start_soon(_take, exporter.open_receive_channel("taken", bytes, importers=None))
    nursery.start_soon(_take, exporter.open_receive_channel("integers", int, importers=None))
    nursery.start_soon(_take, exporter.open_receive_channel("union", UNION, importers=None))
    nursery.start_soon(left.take, exporter.open_receive_channel("full", bytes, importers=None))
    nursery.start_soon(_feed_nothing, exporter.open_send_channel("w", WIDE))


def _state(exporter: Exporter, log: Counted, left: Left) -> dict[str, Any]:
    statistics = exporter.statistics()
    now, most = tracemalloc.get_traced_memory()
    return {
        "connections": statistics.connections,
        "suspended": statistics.suspended,
        "tasks": trio.lowlevel.current_statistics().tasks_living,
        "files": len(os.listdir("/proc/self/fd")),
        "limits": dict(statistics.limits),
        "taken": left.taken,
        "lines": log.lines,
        "tracebacks": log.tracebacks,
        "first_traceback": log.first,
        "traced": now,
        "traced_most": most,
    }


def _collect() -> None:
    """What is not used any more is given back to the system, so that the memory is what is held."""
    gc.collect()
    if sys.platform == "linux":
        getattr(ctypes.CDLL(None), "malloc_trim", int)(0)
    if tracemalloc.is_tracing():
        tracemalloc.reset_peak()


async def _listen(exporter: Exporter, nursery: trio.Nursery, needs: str) -> dict[str, int]:
    async def port(serve: Any, **options: Any) -> int:
        listeners: list[BoundListener] = await nursery.start(functools.partial(serve, 0, **options))
        return listeners[0].port

    ports = {"tcp": await port(exporter.serve_tcp), "tls": 0, "websocket": 0}
    if needs == Needs.TLS:
        ports["tls"] = await port(exporter.serve_tcp, ssl_context=_server_context())
    if needs == Needs.WEBSOCKET:
        try:
            ports["websocket"] = await port(exporter.serve_websocket)
        except ModuleNotFoundError as error:
            raise UnableError(f"{error.name} is not installed") from None
    return ports


async def main(needs: str, log: Counted) -> None:
    allow_files(FILES)
    async with open_exporter() as exporter, trio.open_nursery() as nursery:
        ports = await _listen(exporter, nursery, needs)
        left = Left()
        _open_channels(exporter, nursery, left)
        say(**ports)
        async for (command,) in commands():
            if command == "collect":
                _collect()
            if command == "take":
                left.allowed.set()
            if command != "leave":
                say(**_state(exporter, log, left))
        nursery.cancel_scope.cancel()


def run(needs: str, traced: bool) -> None:
    log = Counted()
    logger = logging.getLogger("trionetchan")
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if traced:
        tracemalloc.start()
    try:
        trio.run(main, needs, log)
    except* UnableError as group:
        say(unable=str(group.exceptions[0]))
    except* BaseException as group:
        say(failed="".join(traceback.format_exception(group))[-1000:])
    else:
        say(failed=None)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2] == "traced")
