"""Each wire case at a real exporter, with a healthy importer beside it: only the hostile peer pays for it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import trio
from all_cases import CASES, numbers_of
from cases import Case, Outcome, fits
from raw_peer import BEGINS, KINDS, Fields, RawPeer, goodbye, hello, play
from second_frames import HELLO, RESUMED
from server import Server, bounded_memory, jobs_given_back, log_lines, serving
from steps import again, resumes, waits
from support import until

from trionetchan._errors import Code

pytestmark = [pytest.mark.promise(43), pytest.mark.promise(72)]

FAULTS = range(1, 76)


def said(heard: Sequence[tuple[int, Fields]]) -> list[str]:
    """What was heard of refusals and the end, as text."""
    found: list[str] = []
    for kind, fields in heard:
        if KINDS[kind] in ("GOODBYE", "REJECT", "CLOSE"):
            code, message = fields[-2:]
            assert isinstance(code, int)
            assert isinstance(message, str)
            found.append(f"{KINDS[kind]} ({Code(code).name}) {message}".strip())
    return found


async def leaves(peer: RawPeer, *, leaves_by_itself: bool = False) -> None:
    """The connection has stayed: the peer is answered, and leaves in an orderly way."""
    if not leaves_by_itself:
        await waits(peer)
    assert "GOODBYE" not in {KINDS[kind] for kind, _ in peer.heard}
    await peer.say(goodbye())
    await peer.hear_all()
    assert said(peer.heard)[-1] == "GOODBYE (FINISHED)"


async def resumes_in_the_end(peer: RawPeer, server: Server) -> None:
    await until(lambda: server.exporter.statistics().suspended == 1)
    await again(None)(peer)
    await resumes(positions=peer.positions)(peer)
    await peer.hear(RESUMED)
    await leaves(peer)


async def check_outcome(peer: RawPeer, server: Server) -> None:
    """The peer sees what the case says."""
    case = server.case
    match case.outcome:
        case Outcome.E if case.hears is None:
            assert len(await peer.drain()) < 100  # an alert of TLS, at most
        case Outcome.E:
            await peer.hear_all()
            assert fits(str(case.hears), said(peer.heard)[-1]), said(peer.heard)
            assert sum(text.startswith("GOODBYE") for text in said(peer.heard)) == 1
        case Outcome.R:
            await leaves(peer)
            assert any(fits(str(case.hears), text) for text in said(peer.heard_ever)), said(peer.heard_ever)
        case Outcome.I:
            await leaves(peer, leaves_by_itself=case.leaves)
        case Outcome.T:
            await peer.hear_all()
            assert case.hears is None or fits(str(case.hears), said(peer.heard)[-1]), said(peer.heard)
        case Outcome.S if case.resumable:
            await resumes_in_the_end(peer, server)
        case Outcome.S:
            await peer.hear_all()


def check_nothing_was_dispatched(peer: RawPeer, server: Server) -> None:
    """For a peer that was not accepted on this stream."""
    assert {KINDS[kind] for kind, _ in peer.heard} <= {"HELLO", "GOODBYE", "PONG"}
    assert {*server.asked} <= {"healthy", "healthy.example"}


@pytest.mark.parametrize("case", [pytest.param(case, id=f"{case.number} {case.does}") for case in CASES])
async def test_wire_case(
    nursery: trio.Nursery,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    case: Case,
) -> None:
    if case.waiting:
        request.applymarker(pytest.mark.xfail(reason=case.waiting, strict=True))
    caplog.set_level(logging.INFO, "trionetchan")
    async with serving(nursery, case, tmp_path) as server:
        tasks = trio.lowlevel.current_statistics().tasks_living
        caplog.clear()
        peer = RawPeer(partial(case.dial, server) if case.dial else server.dial, server.exporter)
        with bounded_memory(case.memory), trio.fail_after(1 if case.waiting else 8):
            await peer.connect()
            try:
                if case.hello:
                    await peer.say(hello(1, BEGINS if case.resumable else None))
                    await peer.hear(HELLO)
                await play(peer, case.steps)
                await server.exchange(1)
                await check_outcome(peer, server)
                if case.refused and case.outcome is not Outcome.R:
                    check_nothing_was_dispatched(peer, server)
                if case.then_goes_back:
                    peer.go_back()
                    await leaves(peer)
            finally:
                await peer.close_all()
            await server.check_at_rest(tasks)
        lines = log_lines(caplog)
        assert bool(case.log) <= len(lines) <= (case.lines if case.log else 0), lines
        assert all(fits(case.log, line) for line in lines), lines
        statistics = server.exporter.statistics()
        assert statistics.limits == ({case.limit: case.times} if case.limit else {})
        assert (statistics.refused, statistics.denied) == (case.refused, case.denied)
        assert sorted(await jobs_given_back(server)) == [*range(case.acknowledged, 10)]


def test_each_fault_has_a_case_and_each_number_is_there_once() -> None:
    numbers = [case.number for case in CASES]
    assert len({*numbers}) == len(numbers) >= 120
    assert numbers_of(CASES) == {*FAULTS}
