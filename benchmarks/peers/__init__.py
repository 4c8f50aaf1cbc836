"""What is measured: this library, and what people use instead, each written as its own users would write it.

Each module has `serve(server)` and `connect(client)`; the local baseline, all in one process, has only the latter. One
that is not Python has `become(role, work)` instead, which puts another program in the place of the process.
"""

from __future__ import annotations

import importlib.util

import attrs

from ..work import Task
from . import go_netchan

__all__ = ["LOCAL", "OURS", "PEERS", "Peer"]

OURS = "trionetchan"
LOCAL = "local"


@attrs.frozen
class Peer:
    """One of what is measured."""

    name: str
    module: str
    needs: str | None = None
    """The module that must be installed."""
    distribution: str | None = None
    """The package to install for it."""
    tasks: frozenset[Task] = frozenset({Task.STREAM, Task.ROUND_TRIP})
    processes: int = 2

    def missing(self) -> str | None:
        """Why it cannot be measured here; None if it can."""
        if self.name == "go-netchan":
            return go_netchan.missing()
        if self.needs is not None and importlib.util.find_spec(self.needs) is None:
            return f"{self.distribution} is not installed"
        return None


PEERS = {
    peer.name: peer
    for peer in (
        Peer(OURS, "channels", tasks=frozenset(Task)),
        Peer(LOCAL, "local", processes=1),
        Peer("trio-stream", "trio_stream"),
        Peer("zmq-blocking", "zmq_blocking", "zmq", "pyzmq"),
        Peer("zmq-asyncio", "zmq_asyncio", "zmq", "pyzmq"),
        Peer("pynng", "pynng_trio", "pynng", "pynng"),
        Peer("asyncio-streams", "asyncio_streams"),
        Peer("multiprocessing", "multiprocessing_connection"),
        Peer("trio-websocket", "trio_websockets", "trio_websocket", "trio-websocket"),
        Peer("grpc", "grpc_asyncio", "grpc", "grpcio"),
        Peer("go-netchan", "go_netchan", tasks=frozenset({Task.STREAM})),
    )
}
