"""A stream that raises as it is closed: the connection is over all the same, and its block can be left."""

from __future__ import annotations

import trio
import trio.testing

from trionetchan import Limits
from trionetchan._network.connection import Connection
from trionetchan._network.peer import Peer
from trionetchan._protocol.session import Role


class Owner:
    def import_requested(self, *_: object) -> None: ...

    def tick(self) -> None: ...
    def reached(self, limit: str, /) -> None: ...
    def grew(self) -> None: ...
    def peer_changed(self, peer: Peer, address: str | None, /) -> None: ...


class RaisesWhenClosed(trio.abc.Stream):
    """A stream whose `aclose` raises, as that of TLS does over a socket that was shut down for writing."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        return b""

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        raise trio.ClosedResourceError


async def test_a_connection_whose_stream_raises_when_it_is_closed_is_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """`wait_over` of it waits for ever, which an importer does shielded: its block can't be left nor cancelled."""
    connection = Connection(RaisesWhenClosed(), Peer(Role.IMPORTER, Limits(), Owner()), Limits())
    try:
        await connection.run()
    except* trio.ClosedResourceError:
        pass
    with trio.move_on_after(1) as scope:
        await connection.wait_over()
    assert not scope.cancelled_caught
