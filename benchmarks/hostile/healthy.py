"""The healthy importer: `python -m benchmarks.hostile.healthy PORT`. It receives as fast as it can.

"begin" starts a stretch, "end" ends it: how many values came, and the longest time in which none did.
"""

from __future__ import annotations

import sys
import time

import attrs
import trio

from trionetchan import open_tcp_importer

from .commands import commands, say

HOST = "127.0.0.1"


@attrs.define
class Stretch:
    """Values that came since it began. It is changed for each value, so it does little."""

    began: float = attrs.field(factory=time.perf_counter)
    values: int = 0
    last: float = attrs.field(factory=time.perf_counter)
    gap: float = 0.0

    def came(self) -> None:
        now = time.perf_counter()
        if now - self.last > self.gap:
            self.gap = now - self.last
        self.last = now
        self.values += 1

    def over(self) -> None:
        now = time.perf_counter()
        say(rate=self.values / (now - self.began), gap=max(self.gap, now - self.last))


async def main(port: int) -> None:
    stretch = Stretch()

    async def take(values: trio.abc.ReceiveChannel[int]) -> None:
        async for _ in values:
            stretch.came()

    async with open_tcp_importer(HOST, port) as importer, trio.open_nursery() as nursery:
        nursery.start_soon(take, await importer.open_receive_channel("healthy", int))
        say()
        async for (command,) in commands():
            if command == "begin":
                stretch = Stretch()
            elif command == "end":
                stretch.over()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
