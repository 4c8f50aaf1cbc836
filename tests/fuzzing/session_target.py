"""Target: a session behind its wire. Whatever comes, there are events only, and the right ones.

The first byte chooses a side and how far it has come; the rest is what the peer says then. The magic bytes in it are
the start of another stream, after the last one broke.
"""

from __future__ import annotations

import enum
import functools
import pickle
import zlib
from collections.abc import Callable, Iterable, Iterator

import attrs

from trionetchan._protocol.events import TurnOver
from trionetchan._protocol.frames import MAGIC, FrameCutter, Goodbye
from trionetchan._protocol.session import Role

from .checks import bounded_memory, check, chunks, small_fragments
from .program import LIMITS, Program

__all__ = ["SCENARIOS", "Scenario", "begun", "session"]

_ASKED = (  # name, whether the importer receives, count
    *(("ask", True, None), ("ask", False, None), ("stop", True, None), ("unconfirmed", False, 9)),
    *(("wait", True, None), ("refuse", True, None), ("keep", False, None), ("hangup", False, 3), ("ask", True, 20)),
)


class Start(enum.Enum):
    """How far a session has come when the bytes begin."""

    SILENT = "nothing has been said"
    GREETED = "the hellos have been said"
    BOUND = "channels are bound"
    SETTLING = "channels are bound whose values are settled one by one"
    RESUMED = "it has gone on over a second stream"
    RESUMING = "it is about to go on, and the hellos have been said"


@attrs.frozen
class Scenario:
    """A side, and how far it has come. `credulous`: proofs are not looked at."""

    role: Role
    start: Start
    credulous: bool = False


SCENARIOS = [
    *(Scenario(role, start) for start in Start for role in Role),
    *(Scenario(role, Start.RESUMING, credulous=True) for role in Role),
]


def session(data: bytes) -> None:
    """The target."""
    scenario, said = SCENARIOS[data[0] % len(SCENARIOS)] if data else SCENARIOS[0], data[1:]
    _begun(scenario)  # what is made once is made outside the bound
    with bounded_memory(2**20 + 400 * len(data)):
        whole = _run(scenario, said, lambda stream: [stream])
    _check_said(whole)
    if zlib.crc32(said) % 3:
        cut = _run(scenario, said, chunks)
        check(_told(whole) == _told(cut), "other events in other chunks", whole.events, cut.events)
        check(whole.said == cut.said, "other answers in other chunks", whole.said, cut.said)
    else:
        with small_fragments():
            fragments = _run(scenario, said, chunks)
        _check_fragments(whole, fragments)
        _check_said(fragments)


def _told(program: Program) -> list[str]:
    """What has happened. When others should have their turn does not belong to it."""
    return [repr(event) for event in program.events if not isinstance(event, TurnOver)]


def _check_fragments(whole: Program, fragments: Program) -> None:
    """Of an incomplete frame something may be known to be wrong sooner or later, and in other words."""
    one, other = ([told for told in _told(side) if not told.startswith("Violated")] for side in (whole, fragments))
    check(one == other, "other events in fragments", one, other)


def _check_said(program: Program) -> None:
    """Each stream that this side has written can be read; after its own end it has said goodbye, once and last."""
    program.write()
    first, *others = program.said.split(MAGIC)  # the first goes on where the opening was
    frames = [[*FrameCutter(2 * LIMITS.max_frame_size).cut(MAGIC + stream)] for stream in (first, *others)]
    goodbyes = [frame for stream in frames for frame in stream if isinstance(frame, Goodbye)]
    check(len(goodbyes) <= 1, "more than one goodbye", goodbyes)
    if program.wire.over:
        check(frames and frames[-1] and frames[-1][-1] in goodbyes, "the goodbye is not the last frame", frames[-1])


def _run(scenario: Scenario, said: bytes, cut: Callable[[bytes], Iterable[bytes]]) -> Program:
    program = begun(scenario)
    # The error about other bytes than the magic ones shows as many of them as have come: these are not cut.
    for number, stream in enumerate(_streams(said) if scenario.start is not Start.SILENT else [said]):
        if number:
            if not program.goes_on:
                break
            program.next_stream()
        for chunk in cut(stream) if stream.startswith(MAGIC) or scenario.start is not Start.SILENT else [stream]:
            program.feed(chunk)
    if program.ended:
        program.feed(b"\x42\x81\x00")  # nothing behind the end
    program.write()
    return program


def _streams(said: bytes) -> Iterator[bytes]:
    first, *others = said.split(MAGIC)
    yield first
    for other in others[:4]:
        yield MAGIC + other


def begun(scenario: Scenario) -> Program:
    """A side that has come so far: of the streams until then, nothing is written twice."""
    program: Program = pickle.loads(_begun(scenario))  # several times as fast as to say all that again
    return program


def _new(scenario: Scenario) -> Program:
    program = Program(scenario.role, credulous=scenario.credulous)
    if scenario.role is Role.IMPORTER and scenario.start not in (Start.SILENT, Start.GREETED):
        for name, receives, count in _ASKED:
            settles = receives and scenario.start is Start.SETTLING
            program.request(name, receives=receives, count=count, settles=settles)
    return program


@functools.cache
def _begun(scenario: Scenario) -> bytes:
    """A side that has talked to a real peer until it had come so far."""
    program = _new(scenario)
    if scenario.start is not Start.SILENT:
        peer = _new(attrs.evolve(scenario, role=scenario.role.other))
        _talk(program, peer, rounds=1 if scenario.start is Start.GREETED else 4)
        if scenario.start in (Start.RESUMED, Start.RESUMING):
            for side in (program, peer):
                side.next_stream()
                side.said = b""  # what was under way is lost
            _talk(program, peer, rounds=1 if scenario.start is Start.RESUMING else 6)
        program.events.clear()
    return pickle.dumps(program)


def _talk(program: Program, peer: Program, *, rounds: int) -> None:
    for _ in range(rounds):
        texts: list[bytes] = []
        for side in (program, peer):
            side.write()
            texts.append(side.said)
            side.said = b""
        peer.feed(texts[0])
        program.feed(texts[1])
