"""Each wire case of a hostile exporter: what leaves the importer's block, and that no channel ends as if complete."""

from __future__ import annotations

import logging

import pytest
import trio
from cases import fits
from exporter_cases import EXPORTER_CASES, ExporterCase, Seen
from raw_peer import RawPeer, goodbye, hello, play
from second_frames import HELLO
from server import HOST, bounded_memory

from trionetchan import open_tcp_importer

pytestmark = pytest.mark.promise(31)


async def script(case: ExporterCase, peer: RawPeer) -> None:
    """The exporter, up to the importer's end."""
    await peer.connect()
    if case.hello is not None:
        await peer.say(hello(1, case.hello))
        await peer.hear(HELLO)
    await play(peer, case.steps)
    if case.raises is None:
        await peer.say(goodbye())
    await peer.drain()
    await peer.end()


async def import_from(port: int, case: ExporterCase, seen: Seen) -> None:
    async with open_tcp_importer(HOST, port, limits=case.limits) as importer:
        await case.program(importer, seen)


@pytest.mark.parametrize("case", [pytest.param(case, id=f"{case.number} {case.does}") for case in EXPORTER_CASES])
async def test_wire_case(caplog: pytest.LogCaptureFixture, case: ExporterCase) -> None:
    caplog.set_level(logging.INFO, "trionetchan")
    seen = Seen()
    tasks = trio.lowlevel.current_statistics().tasks_living
    (listener,) = await trio.open_tcp_listeners(0, host=HOST)
    port = listener.socket.getsockname()[1]
    peer = RawPeer(listener.accept)
    with trio.fail_after(5), bounded_memory(case.memory):
        async with listener, trio.open_nursery() as nursery:
            nursery.start_soon(script, case, peer)
            try:
                if case.raises is None:
                    await import_from(port, case, seen)
                else:
                    with pytest.raises(case.raises) as raised:
                        await import_from(port, case, seen)
                    assert fits(case.says, str(raised.value)), str(raised.value)
            finally:
                nursery.cancel_scope.cancel()
                await peer.close_all()
    assert seen.finished == (case.raises is None)
    for end in seen.ends if case.raises is not None else []:
        with pytest.raises(trio.ClosedResourceError):
            end.receive_nowait()
    assert seen.values == [*case.gets][: len(seen.values)]
    assert case.raises is not None or len(seen.values) == len(case.gets)
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert not [record for record in caplog.records if record.exc_info]


def test_there_are_enough() -> None:
    numbers = [case.number for case in EXPORTER_CASES]
    assert len({*numbers}) == len(numbers) >= 40
