"""A dialogue whose connection is cut at every byte, in both directions, and cut again at every byte of its resume.

In memory and by a clock of the tests' own. It takes a minute to try all bytes: `TRIONETCHAN_EXAMPLES=1000` does, and so
many pairs of cuts; else it is every fourth byte for each kind of fault, all in all each of them, and 200 pairs.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

import attrs
import pytest
import trio
import trio.testing
from pausing import LIMITS, begin, settle
from proxy import Fault, Line, Network, Plan, Way
from scripted import seeded
from support import put, take, take_all

from trionetchan import Exporter, Importer, NoSuchChannelError, open_exporter, open_importer

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES") or "0")
PAIRS = max(200, EXAMPLES)
STEP = 1 if EXAMPLES >= 1000 else len(Fault)
PARTS = 6  # of a test that runs in parallel


async def converse(exporter: Exporter, importer: Importer) -> None:
    """Something of all that is said: values both ways, a counted import, ends of either side, a hang-up, a refusal."""
    downs = [exporter.open_send_channel(name, int, max_buffer_size=9) for name in ("down", "counted", "hung up")]
    up, gone = exporter.open_receive_channel("up", int), exporter.open_receive_channel("gone", int)
    from_down = await importer.open_receive_channel("down", int, window=2)
    counted = await importer.open_receive_channel("counted", int, count=2)
    hung_up = await importer.open_receive_channel("hung up", int, window=2)
    to_up = await importer.open_send_channel("up", int, window=2)
    to_gone = await importer.open_send_channel("gone", int, max_buffer_size=3)
    with pytest.raises(NoSuchChannelError):
        await importer.open_send_channel("missing", int)
    for down in downs:
        for value in range(4):
            down.send_nowait(value)
    assert await take_all(counted) == [0, 1]
    assert await take(hung_up, 1) == [0]
    importer.hangup("hung up")
    gone.close()
    await to_gone.send(0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(put, to_up, range(5))
        received = begin(nursery, take_all, up)
        downs[0].close()
        assert await take_all(from_down) == [*range(4)]
    assert received.result == [*range(5)]
    assert (await importer.errors.receive()).channel == "gone"
    for name, rest in (("counted", [2, 3]), ("hung up", [1, 2])):
        assert await take_all(await importer.open_receive_channel(name, int, count=2)) == rest


@attrs.define
class Course:
    """How a dialogue went: how many bytes were carried in all on each line, and before its session had begun."""

    begun: dict[Way, int]
    lines: list[Line]

    def some_byte(self, line: int, chance: random.Random) -> Plan:
        """A plan that cuts this line somewhere; the first one behind the hellos, before which there is no session."""
        way = chance.choice([*Way])
        after = chance.randrange(0 if line else self.begun[way], self.lines[line].carried(way))
        return Plan(fault=chance.choice([*Fault]), way=way, after=after)


async def run(plans: Sequence[Plan]) -> Course:
    """One dialogue over connections that are cut as planned."""
    async with trio.open_nursery() as nursery:
        async with open_exporter(limits=LIMITS) as exporter:
            network = Network(nursery, exporter, plans)
            try:
                with trio.fail_after(500):
                    async with open_importer(network.connect, limits=LIMITS) as importer:
                        await settle()
                        begun = {way: network.lines[0].carried(way) for way in Way}
                        await converse(exporter, importer)
            except BaseException as error:
                error.add_note(f"with {plans}")
                raise
        nursery.cancel_scope.cancel()
    return Course(begun, network.lines)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("way", Way)
async def test_cut_at_every_byte(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, fault: Fault, way: Way
) -> None:
    seeded(monkeypatch, 0)
    whole = await run([])
    assert len(whole.lines) == 1
    cut = 0
    for after in range(whole.begun[way] + [*Fault].index(fault), whole.lines[0].carried(way), STEP):
        course = await run([Plan(fault=fault, way=way, after=after)])
        cut += len(course.lines) > 1
    assert cut > 250 // STEP  # the order of tasks decides how much is said: some of the last bytes may not be reached


@pytest.mark.parametrize("part", range(PARTS))
async def test_cut_again_at_every_byte_of_the_resume(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    """And of what follows it; a third connection carries the rest."""
    seeded(monkeypatch, part)
    chance = random.Random(part)
    whole = await run([])
    cut_twice = 0
    for _ in range(PAIRS // PARTS):
        first = whole.some_byte(0, chance)
        resumed = await run([first])
        if len(resumed.lines) > 1:
            cut_twice += len((await run([first, resumed.some_byte(1, chance)])).lines) > 2
    assert cut_twice > PAIRS // PARTS // 2
