"""Who is let in: how many connections an exporter has at a time, in all and from one IP address.

A connection counts from the moment it is accepted, before any handshake of TLS or WebSocket. At one more than is
allowed, the oldest goes that has not said hello yet. To refuse the newest only would not do: whoever opens as many
connections as are allowed, and says nothing, would lock everyone out until the handshake's deadline, and could begin
anew then. So a flood drives out its own silent connections, and an importer, which says hello at once, is hardly ever
the oldest of them. Where all have said hello, the new one is refused.

A connection without an IP address, such as one over a unix socket, counts only in all.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from .._errors import Code, LimitError
from .._limits import Limits
from .._log import BoundedLog
from .._protocol.frames import MAGIC, Goodbye, encode
from .transport import transport_over

__all__ = ["Admission", "Guest"]

HOST_PREFIX = 64  # bits


@attrs.define(eq=False)
class Guest:
    """A connection that was let in."""

    stream: trio.abc.Stream
    peer_name: str
    address: str | None
    since: float = attrs.field(factory=trio.current_time)
    """When it was accepted."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Around all that serves it."""
    has_greeted: Callable[[], bool] = lambda: False
    """Whether its hello has come."""
    end: Callable[[LimitError], None] | None = None
    """Ends it at once, with a goodbye if that can be said without waiting, and logs it. None: it has not come so far;
    then its scope is cancelled."""


class _Crowd:
    """Guests, oldest first; those that may still be silent once more by themselves."""

    def __init__(self) -> None:
        self.all: dict[Guest, None] = {}
        self._silent: dict[Guest, None] = {}

    def add(self, guest: Guest) -> None:
        self.all[guest] = self._silent[guest] = None

    def remove(self, guest: Guest) -> None:
        self.all.pop(guest, None)
        self._silent.pop(guest, None)

    def oldest_silent(self) -> Guest | None:
        """Those that have said hello meanwhile are sorted out here, each once."""
        while self._silent:
            guest = next(iter(self._silent))
            if not guest.has_greeted():
                return guest
            del self._silent[guest]
        return None


class Admission:
    """Lets connections in, and turns them away. `reached` is told the name of a limit that was reached."""

    def __init__(self, limits: Limits, reached: Callable[[str], None], log: BoundedLog) -> None:
        self._limits = limits
        self._reached = reached
        self._log = log
        self._everybody = _Crowd()
        self._by_address: dict[str, _Crowd] = {}

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._everybody.all)

    async def serve(
        self, stream: trio.abc.Stream, serve: Callable[[Guest], Awaitable[None]], *, goodbye: bool = True
    ) -> None:
        """Has the connection served, if it is let in, and closes the stream at last.

        `goodbye`: who is turned away can be told, since what comes on this stream is the protocol.
        """
        transport = transport_over(stream)
        guest = Guest(stream, transport.peer_name, _address_of(stream))
        refusal = self._let_in(guest)
        if refusal is not None:
            self._log.warning("the connection with %s was refused: %s", guest.peer_name, refusal)
            if goodbye:
                transport.send_nowait([MAGIC + encode(Goodbye(Code.LIMIT, str(refusal)))])
            await trio.aclose_forcefully(stream)
            return
        try:
            with guest.scope:
                await serve(guest)
        finally:
            self._forget(guest)
        if guest.scope.cancelled_caught:
            await trio.aclose_forcefully(stream)

    def make_room(self) -> bool:
        """Ends the oldest connection that has not said hello, since file descriptors are lacking. Whether there is one.

        Its descriptor is free when this returns.
        """
        guest = self._everybody.oldest_silent()
        if guest is not None:
            self._end(guest, LimitError("expected a hello, got none before file descriptors were lacking"))
        return guest is not None

    def _let_in(self, guest: Guest) -> LimitError | None:
        """Counts it; or says why not."""
        limits = self._limits
        if guest.address is not None:
            crowd = self._by_address.get(guest.address, _Crowd())
            most = limits.max_connections_per_address
            refusal = self._check(crowd, most, "max_connections_per_address", " from one address")
            if refusal is not None:
                return refusal
            self._by_address.setdefault(guest.address, crowd).add(guest)  # who made room may have been all of it
        refusal = self._check(self._everybody, limits.max_connections, "max_connections", "")
        if refusal is not None:
            self._forget(guest)
            return refusal
        self._everybody.add(guest)
        return None

    def _check(self, crowd: _Crowd, most: int, limit: str, which: str) -> LimitError | None:
        """Makes room for one more; or says why it cannot."""
        if len(crowd.all) < most:
            return None
        self._reached(limit)
        expected = f"expected at most {most} connections{which} ({limit}), got one more"
        guest = crowd.oldest_silent()
        if guest is None:
            return LimitError(expected)
        self._end(guest, LimitError(f"{expected}, and this one was the oldest without a hello"))
        return None

    def _end(self, guest: Guest, why: LimitError) -> None:
        self._forget(guest)
        if guest.end is not None:
            guest.end(why)
        else:
            guest.scope.cancel()
            self._log.warning("the connection with %s ended: %s", guest.peer_name, why)
        _close_now(guest.stream)

    def _forget(self, guest: Guest) -> None:
        self._everybody.remove(guest)
        if guest.address is not None and (crowd := self._by_address.get(guest.address)) is not None:
            crowd.remove(guest)
            if not crowd.all:
                del self._by_address[guest.address]


def _socket_of(stream: trio.abc.Stream) -> Any:
    """Also the one below TLS. None if there is none."""
    return getattr(getattr(stream, "transport_stream", stream), "socket", None)


def _address_of(stream: trio.abc.Stream) -> str | None:
    """Whose connection it is: one machine may have all IPv6 addresses of a network as its own."""
    try:
        name = _socket_of(stream).getpeername()
    except (AttributeError, OSError):
        return None
    if not isinstance(name, tuple) or not name or not isinstance(name[0], str):
        return None
    try:
        address = ipaddress.ip_address(name[0].partition("%")[0])
    except ValueError:
        return name[0]
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.IPv6Network((address, HOST_PREFIX), strict=False))


def _close_now(stream: trio.abc.Stream) -> None:
    """Closes a socket without waiting; any other stream is closed by the task that serves it."""
    with contextlib.suppress(AttributeError, OSError):
        _socket_of(stream).close()
