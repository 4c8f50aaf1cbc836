"""Half-open connections: the cable between two machines is pulled, and neither side gets a word of it. The machines are
network namespaces; where they cannot be had, these tests are skipped."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import pytest
import trio
from namespaces import Cable, Machine, connect, open_machine, why_not
from support import Peer, peer

COUNT = 200
KEEPALIVE = 0.7  # seconds, and as many until a silent peer is given up
PATIENCE = 120.0  # seconds after which a test counts as hung

PULLS: dict[str, Callable[[Cable], Awaitable[None]]] = {
    "pulled at the exporter": Cable.pull,
    "pulled at the importer": functools.partial(Cable.pull, at_other=True),
    "packets are lost": Cable.lose_packets,
}


@pytest.fixture(scope="module", autouse=True)
def _machines() -> None:
    reason = why_not()
    if reason is not None:
        pytest.skip(f"needs network namespaces: {reason}")


class Lines:
    """What a process has said, by its first word."""

    def __init__(self, process: Peer) -> None:
        self._process = process
        self._said = defaultdict[str, list[str]](list)
        self._waited_for = Counter[str]()

    async def until(self, word: str, count: int = 1) -> str:
        """Waits until it has said this so many times more; returns the rest of the last of these lines."""
        self._waited_for[word] += count
        while len(self._said[word]) < self._waited_for[word]:
            first, _, rest = (await self._process.line()).partition(" ")
            self._said[first].append(rest)
        return self._said[word][self._waited_for[word] - 1]

    def numbers(self, word: str) -> list[int]:
        return [int(rest.split()[0]) for rest in self._said[word]]


def start_exporter(machine: Machine, resume: float) -> AbstractAsyncContextManager[Peer]:
    return peer("namespaced", "exporter", COUNT, KEEPALIVE, resume, within=machine.within)


def start_importer(cable: Cable, port: str, window: int, resume: float) -> AbstractAsyncContextManager[Peer]:
    return peer("namespaced", "importer", cable.address, port, window, KEEPALIVE, resume, within=cable.other.within)


@pytest.mark.parametrize("pull", PULLS)
def test_cable_is_pulled_and_put_back(pull: str) -> None:
    """The exporter notices by the silence, and suspends the session; later all goes on, with nothing lost or twice."""

    async def run() -> None:
        async with open_machine() as one, open_machine(one) as other:
            cable = await connect(one, other, "192.0.2")
            async with start_exporter(one, 60) as exporting:
                port = await exporting.line()
                async with start_importer(cable, port, 16, 60) as importing:
                    exporter, importer = Lines(exporting), Lines(importing)
                    await importer.until("got", COUNT // 5)
                    await PULLS[pull](cable)
                    assert await exporter.until("suspended") == "1"
                    await trio.sleep(0.3)  # the importer tries to connect again, in vain
                    await cable.mend()
                    assert await exporter.until("suspended") == "0"
                    assert await exporter.until("drained") == "0 0"
                    assert int(await importer.until("end")) >= 1  # how many times it was resumed
                    assert importer.numbers("got") == [*range(COUNT)]
                    await exporter.until("result", COUNT)
                    assert exporter.numbers("result") == [*range(COUNT)]
                    await exporting.tell()

    trio.run(bounded, run)


@pytest.mark.parametrize("pull", ["pulled at the exporter", "packets are lost"])
def test_cable_is_pulled_for_good(pull: str) -> None:
    """What the importer held goes to another, over another cable, when nobody can have it any more; it is told."""
    window, resume = 8, 1.5

    async def run() -> None:
        async with open_machine() as one, open_machine(one) as other, open_machine(one) as third:
            cable, good_cable = await connect(one, other, "192.0.2"), await connect(one, third, "198.51.100")
            async with start_exporter(one, resume) as exporting:
                port = await exporting.line()
                async with (
                    start_importer(cable, port, window, resume) as importing,
                    start_importer(good_cable, port, window, resume) as importing_well,
                ):
                    exporter, cut_off, well = Lines(exporting), Lines(importing), Lines(importing_well)
                    await cut_off.until("got", 20)
                    await well.until("got", 20)
                    await PULLS[pull](cable)
                    assert await exporter.until("suspended") == "1"
                    assert await exporter.until("suspended") == "0"
                    await cut_off.until("lost")
                    redelivered, dropped = map(int, (await exporter.until("drained")).split())
                    await well.until("end")
                    await exporting.tell()
                    assert {*cut_off.numbers("got")} | {*well.numbers("got")} == {*range(COUNT)}
                    twice = {*cut_off.numbers("got")} & {*well.numbers("got")}
                    assert len(twice) <= redelivered <= window
                    assert len({*well.numbers("got")}) == len(well.numbers("got"))
                    assert dropped == 0

    trio.run(bounded, run)


async def bounded(run: Callable[[], Awaitable[None]]) -> None:
    with trio.fail_after(PATIENCE):
        await run()
