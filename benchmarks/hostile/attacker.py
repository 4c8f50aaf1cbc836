"""The hostile process: `python -m benchmarks.hostile.attacker CASE TCP TLS WEBSOCKET`.

"attack 30" makes it hostile for so many seconds; "busy 0.8 5" keeps as much of a processor busy for so long as that
took, without any harm: else the exporter would be charged with what the attack costs its attacker.
"""

from __future__ import annotations

import logging
import socket
import sys
import time

import trio

from ..measure import allow_files
from .cases import CASES, Case
from .commands import commands, say
from .line import NoConnectionError, Target

BLOCK = bytes(2**16)


async def _go_on(case: Case, target: Target) -> None:
    """A hostile peer, which comes again when it is dropped."""
    while True:
        await trio.lowlevel.checkpoint()
        try:
            await case.attack(target)
        except* NoConnectionError:
            pass


async def _attack(case: Case, target: Target, seconds: float) -> None:
    begun, cpu = time.perf_counter(), time.process_time()
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for _ in range(case.peers):
                nursery.start_soon(_go_on, case, target)
    tally = target.tally
    say(
        connections=tally.connections,
        failed=tally.failed,
        drops=tally.drops,
        first_drop=tally.first_drop,
        longest=tally.longest,
        sent=tally.sent,
        words=dict(tally.words),
        busy=(time.process_time() - cpu) / (time.perf_counter() - begun),
    )


def _keep_busy(share: float, seconds: float) -> None:
    """Sends to itself, with pauses, so that it takes this share of a processor."""
    one, other = socket.socketpair()
    with one, other:
        begun, cpu = time.perf_counter(), time.process_time()
        while (elapsed := time.perf_counter() - begun) < seconds:
            if time.process_time() - cpu > share * elapsed:
                time.sleep(0.0005)
                continue
            one.sendall(BLOCK)
            rest = len(BLOCK)
            while rest:
                rest -= len(other.recv(rest))


async def main(case: Case, tcp: int, tls: int, websocket: int) -> None:
    allow_files(case.peers)
    async for command, *arguments in commands():
        match command:
            case "attack":
                await _attack(case, Target(tcp, tls, websocket), float(arguments[0]))
            case "busy":
                _keep_busy(*map(float, arguments))
                say()
            case _:
                pass


if __name__ == "__main__":
    logging.disable()
    name, *ports = sys.argv[1:]
    tcp, tls, websocket = map(int, ports)
    trio.run(main, CASES[name], tcp, tls, websocket)
