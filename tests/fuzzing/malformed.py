"""Malformed frames against sessions in memory: each ends its session with one error, and nothing else happens.

Frames are made, changed, and said to a session until one of them is wrong; that is counted, and the next session
begins. What is still right after the change is answered as any frame.
"""

from __future__ import annotations

from random import Random

import attrs

from trionetchan._protocol.events import LimitExceeded, PeerLeft, ResumeRequested, Violated
from trionetchan._protocol.frames import MAGIC, FrameCutter, Goodbye

from .building import made_frame
from .checks import check
from .mutation import mutated
from .program import LIMITS, Program
from .session_target import SCENARIOS, begun

__all__ = ["Tried", "tried"]

_MOST = 50  # frames that a session is told; after so many right ones another begins
_FILLER = b"\x42\x88\xff" * (LIMITS.max_frame_size // 2)  # completes a frame that says it is longer than it is


@attrs.define
class Tried:
    """How many there were, of each outcome."""

    malformed: int = 0
    limits: int = 0
    left: int = 0
    still_right: int = 0
    sessions: int = 0


def tried(first: int, count: int) -> Tried:
    """Tries so many malformed frames. The same numbers, the same frames. `AssertionError` for what must not be."""
    result = Tried()
    number = first
    while result.malformed + result.limits < count:
        _try_session(Random(number), number, result)
        number += 1
    return result


def _try_session(random: Random, number: int, result: Tried) -> None:
    """Frames until the session has ended."""
    scenario = SCENARIOS[number % len(SCENARIOS)]
    program = begun(scenario)
    result.sessions += 1
    for _ in range(_MOST):
        frame = mutated(random, made_frame(random))
        try:
            program.feed(frame)
            if program.ended:
                break
        except BaseException as error:
            error.add_note(f"{scenario}, session {number}: {frame.hex()}")
            raise
        result.still_right += 1
    if not program.ended:
        program.feed(_FILLER)
    _count_end(program, result)


def _count_end(program: Program, result: Tried) -> None:
    """One error, which is told to the peer, and nothing else behind it."""
    check(program.ended, "a session that goes on with malformed frames")
    end = program.events[-1]
    program.feed(b"\x42\x81\x00")
    for window in program.session.unconfirmed:
        window.confirm(window.delivered)  # the goodbye waits for it
    program.session.hurry()
    program.write()
    check(program.wire.over and program.events[-1] is end, "expected only a goodbye behind the end", program.events)

    last = program.said.rpartition(MAGIC)[2]
    goodbyes = [frame for frame in FrameCutter(2**20).cut(MAGIC + last) if isinstance(frame, Goodbye)]
    check(len(goodbyes) == 1, "expected one goodbye", goodbyes, end, program.said)
    result.malformed += isinstance(end, Violated)
    result.limits += isinstance(end, LimitExceeded)
    result.left += isinstance(end, PeerLeft | ResumeRequested)  # a resume without proof is refused
