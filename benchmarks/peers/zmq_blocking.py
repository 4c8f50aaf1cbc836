"""pyzmq, blocking: PUSH to PULL, or REQ to REP."""

from __future__ import annotations

import zmq

from ..measure import Client, Sample, Server, Stopwatch, round_trips_blocking
from ..work import Task

__all__ = ["connect", "serve"]


def serve(server: Server) -> None:
    work = server.work
    codec = work.codec()
    encode, decode = codec.encode, codec.decode
    with zmq.Context() as context, context.socket(zmq.REP if work.task is Task.ROUND_TRIP else zmq.PUSH) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        server.announce(port)
        if work.task is Task.ROUND_TRIP:
            for _ in range(work.total):
                socket.send(encode(decode(socket.recv())))
        else:
            send = socket.send
            for value in server.values():
                send(encode(value))
        server.wait_until_done()


def connect(client: Client) -> Sample:
    work = client.work
    codec = work.codec()
    encode, decode = codec.encode, codec.decode
    with zmq.Context() as context, context.socket(zmq.REQ if work.task is Task.ROUND_TRIP else zmq.PULL) as socket:
        socket.connect(f"tcp://127.0.0.1:{client.port}")
        receive = socket.recv
        if work.task is Task.ROUND_TRIP:

            def ask(number: int) -> object:
                socket.send(encode(number))
                return decode(receive())

            return round_trips_blocking(ask, work)
        value = None
        for _ in range(work.warmup):
            decode(receive())
        watch = Stopwatch()
        for _ in range(work.count):
            value = decode(receive())
        sample = watch.stop(work.count)
        work.check(value)
        return sample
