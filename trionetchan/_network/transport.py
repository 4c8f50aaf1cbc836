"""The bytes of a connection, out of and into its stream.

A socket is read and written here without `trio.SocketStream`'s layers around each call, which cost a tenth of a round
trip, and it can be written without being awaited, and from several buffers without joining them. Waiting for it and
closing it is left to trio. Any other stream (TLS, a pipe, one of a test) is used as it is.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import sys
from typing import Any, cast

import trio

__all__ = ["LOST", "PatientListener", "Piece", "Transport", "lacks_files", "no_free_file", "transport_over"]

READ_SIZE = 512 * 2**10  # bytes
LOST = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
SLICE = 64 * 2**10  # bytes sent at a time where only the whole is seen to be taken
FEW = 64  # pieces that are written from where they are; more are small ones, and joined

ACCEPT_AGAIN = 0.1  # seconds

Piece = bytes | memoryview

logger = logging.getLogger("trionetchan")


class Transport:
    """Any stream. One task receives, and one sends. What waits raises a `LOST` when the stream is broken or closed."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.progressed = -math.inf
        """When the peer last made room, in a `send_all` that had to wait for it."""

    def __repr__(self) -> str:
        return repr(self._stream)

    @property
    def peer_name(self) -> str:
        """The peer's address, for a log line; or what the stream calls itself."""
        transport: Any = getattr(self._stream, "transport_stream", self._stream)
        try:
            return str(transport.socket.getpeername())
        except (AttributeError, OSError):
            return repr(self._stream)

    async def receive(self) -> bytes:
        """The next bytes; none at the end."""
        return bytes(await self._stream.receive_some(READ_SIZE))

    def send_nowait(self, pieces: list[Piece]) -> list[Piece]:
        """Sends what can be sent without waiting, while nobody is sending. Returns what is left."""
        return pieces

    async def send_all(self, pieces: list[Piece]) -> None:
        data = b"".join(pieces)
        for start in range(0, len(data), SLICE):
            if start:
                self.progressed = trio.current_time()
            await self._stream.send_all(data[start : start + SLICE])

    async def send_eof(self) -> None:
        """The peer sees the end, and can still be heard; where the stream knows that."""
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            await self._stream.send_eof()

    async def aclose(self) -> None:
        """Closes the stream, at once when it is cancelled. Nothing is raised."""
        with contextlib.suppress(trio.BrokenResourceError, OSError):
            await self._stream.aclose()


class SocketTransport(Transport):
    """A socket, on a system where its descriptor is one for `os.read` and `os.write`."""

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__(stream)
        self._fileno = stream.socket.fileno  # -1 when it is closed: so that never another's file is meant

    async def receive(self) -> bytes:
        try:
            data = os.read(self._fileno(), READ_SIZE)
        except BlockingIOError:
            pass
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return data
        while True:
            await trio.lowlevel.wait_readable(self._fileno())
            with contextlib.suppress(BlockingIOError):
                return os.read(self._fileno(), READ_SIZE)

    def send_nowait(self, pieces: list[Piece]) -> list[Piece]:
        pieces = _few(pieces)
        with contextlib.suppress(OSError):  # it is full; or broken, as the next `send_all` will find
            while pieces:
                pieces = _behind(os.writev(self._fileno(), pieces), pieces)
        return pieces

    async def send_all(self, pieces: list[Piece]) -> None:
        await trio.lowlevel.checkpoint()
        pieces = _few(pieces)
        while pieces:
            try:
                pieces = _behind(os.writev(self._fileno(), pieces), pieces)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._fileno())
                self.progressed = trio.current_time()


class PatientListener(trio.abc.Listener[trio.abc.Stream]):
    """A listener that outlives the lack of file descriptors: it says so, once, and accepts when some are free again."""

    def __init__(self, listener: trio.abc.Listener[Any]) -> None:
        self._listener = listener

    async def accept(self) -> trio.abc.Stream:
        told = False
        while True:
            try:
                stream: trio.abc.Stream = await self._listener.accept()
            except OSError as error:
                if not lacks_files(error):
                    raise
                if not told:
                    logger.warning("cannot accept importers for now: %s", no_free_file())
                    told = True
                await trio.sleep(ACCEPT_AGAIN)
            else:
                return stream

    async def aclose(self) -> None:
        await self._listener.aclose()


def lacks_files(error: BaseException | None) -> bool:
    """Whether an error says, itself or in its causes, that there is no free file descriptor."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(lacks_files, cast("BaseExceptionGroup[BaseException]", error).exceptions))
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return True
    return error is not None and lacks_files(error.__cause__)


def no_free_file() -> OSError:
    """What to say then."""
    limit = ""
    if sys.platform != "win32":
        import resource

        limit = f" ({resource.getrlimit(resource.RLIMIT_NOFILE)[0]} are allowed to this process: `ulimit -n`)"
    return OSError(errno.EMFILE, f"expected a free file descriptor for one more connection, got none{limit}")


def _few(pieces: list[Piece]) -> list[Piece]:
    return pieces if len(pieces) <= FEW else [b"".join(pieces)]


def _behind(size: int, pieces: list[Piece]) -> list[Piece]:
    """The pieces without their first bytes."""
    for index, piece in enumerate(pieces):
        if size < len(piece):
            return [memoryview(piece)[size:], *pieces[index + 1 :]]
        size -= len(piece)
    return []


def transport_over(stream: trio.abc.Stream) -> Transport:
    """What fits the stream best."""
    if isinstance(stream, trio.SocketStream) and os.name == "posix":
        return SocketTransport(stream)
    return Transport(stream)
