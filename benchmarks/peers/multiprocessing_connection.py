"""multiprocessing.connection over TCP, blocking: values are pickled, as its users would have it."""

from __future__ import annotations

import socket
from multiprocessing import connection as mp

from ..measure import Client, Sample, Server, Stopwatch, round_trips_blocking
from ..work import Task

__all__ = ["connect", "serve"]


def _undelayed(connection: mp.Connection) -> mp.Connection:
    """A round trip would wait for Nagle's algorithm otherwise."""
    with socket.socket(fileno=connection.fileno()) as its:
        its.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        its.detach()
    return connection


def serve(server: Server) -> None:
    work = server.work
    with mp.Listener(("127.0.0.1", 0)) as listener:
        port = listener.address[1]
        assert isinstance(port, int)
        server.announce(port)
        with _undelayed(listener.accept()) as connection:
            if work.task is Task.ROUND_TRIP:
                for _ in range(work.total):
                    connection.send(connection.recv())
            else:
                send = connection.send
                for value in server.values():
                    send(value)
            server.wait_until_done()


def connect(client: Client) -> Sample:
    work = client.work
    with _undelayed(mp.Client(("127.0.0.1", client.port))) as connection:
        receive = connection.recv
        if work.task is Task.ROUND_TRIP:

            def ask(number: int) -> object:
                connection.send(number)
                return receive()

            return round_trips_blocking(ask, work)
        value = None
        for _ in range(work.warmup):
            receive()
        watch = Stopwatch()
        for _ in range(work.count):
            value = receive()
        sample = watch.stop(work.count)
        work.check(value)
        return sample
