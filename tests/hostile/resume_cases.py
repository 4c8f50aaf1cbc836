"""Wire cases 54 and 66 to 75: sessions that are resumed, and that should not be."""

from __future__ import annotations

from typing import Any

from cases import Case, broken, ignored, refused
from raw_peer import BEGINS, ID, RESUMES, RawPeer, ack, close, data, hello, import_
from second_frames import ACCEPT, DATA, GOODBYE, HELLO, POSITION, REJECT, RESUME, RESUMED, SEEN
from second_session import frame
from server import client_context
from steps import (
    again,
    ends,
    goes_back,
    hangs_up,
    hears,
    keeps_its_proof,
    next_key,
    resumes,
    waits,
    waits_for_suspension,
)

from trionetchan import Limits

__all__ = ["RESUME_CASES"]

LOST = "expected a session that can be resumed, got one that is not here"
OTHER = bytes(16)
TAKES_OVER = again(keeps=True)
JOBS = (import_(0, "jobs"), hears(DATA))


def not_here(number: str, does: str, *steps: Any, back: int = 1, **more: Any) -> Case:
    """The resume is refused, and the session that there is goes on where it was: so many streams further."""
    options: dict[str, Any] = {"resumable": True, **more}
    steps = (*steps, hears(GOODBYE), *[goes_back] * back)
    return refused(number, does, *steps, kind="GOODBYE", code="SESSION_LOST", says=LOST, **options)


def wrong(number: str, does: str, *steps: Any, says: str, **more: Any) -> Case:
    """The resume is proved, and says what cannot be."""
    options: dict[str, Any] = {"resumable": True, **more}
    return broken(number, does, *steps, says=says, **options)


async def in_epoch_1(peer: RawPeer) -> None:
    """Has resumed, and says something: so both sides are in epoch 1."""
    await again(keeps=True)(peer)
    await resumes()(peer)
    await peer.hear(RESUMED)
    peer.notes["key"] = next_key(peer)
    await peer.say(import_(0, "nothing"))
    await peer.hear(REJECT)


async def resumes_in_epoch_1(peer: RawPeer) -> None:
    await again(keeps=True)(peer)
    await resumes(epoch=1, key=peer.notes["key"], seen=1)(peer)
    await peer.hear(RESUMED)


async def as_somebody_else(peer: RawPeer) -> None:
    """Connects with another certificate, and knows the session's secret."""
    dial: Any = peer.dial
    peer.go_on_with(await dial(client_context("second")))
    await peer.say(hello(1, RESUMES))
    await peer.hear(HELLO)
    await resumes()(peer)


async def early_and_later(peer: RawPeer) -> None:
    """Two streams on which hello is said; the later one resumes first."""
    await again(keeps=True)(peer)
    await again(keeps=True)(peer)
    await resumes()(peer)
    await peer.hear(RESUMED)
    peer.go_back()
    peer.go_back()
    await resumes()(peer)


def hoards(count: int) -> Any:
    """Begins so many sessions, and breaks each connection."""

    async def step(peer: RawPeer) -> None:
        for number in range(count):
            await peer.say(hello(1, BEGINS | {"session": bytes([number]) * 16}))
            await peer.hear(HELLO)
            await waits(peer)
            await peer.end()
            await peer.connect()

    return step


RESUME_CASES: list[Case] = [
    not_here("54a", "resumes with a proof of an epoch that is over", in_epoch_1, TAKES_OVER, resumes(), back=2),
    not_here("54b", "resumes in an epoch that has not begun", TAKES_OVER, resumes(epoch=1)),
    ignored(
        "54c", "resumes in the epoch that the last resume has begun", in_epoch_1, resumes_in_epoch_1, resumable=True
    ),
    not_here(
        "66a",
        "resumes a session whose id it has guessed",
        again(RESUMES | {"session": OTHER}, keeps=True),
        resumes(session=OTHER),
    ),
    not_here("66b", "resumes without there being any session", again(keeps=True), resumes(), resumable=False),
    not_here(
        "67a",
        "resumes with an id that it has seen, and 32 other bytes for a proof",
        TAKES_OVER,
        resumes(of=lambda peer: bytes(32)),
    ),
    not_here("67b", "resumes with a proof made with another secret", TAKES_OVER, resumes(key=bytes(32))),
    not_here("67c", "resumes with the proof that the exporter would give", TAKES_OVER, resumes(purpose=b"exporter")),
    broken(
        "67d",
        "begins a session with an id that is in use",
        again(BEGINS, keeps=True),
        says="expected an id for the session that is its own, got one in use",
        resumable=True,
        then_goes_back=True,
    ),
    not_here(
        "68a",
        "resumes with a proof that it has seen on another stream",
        TAKES_OVER,
        keeps_its_proof,
        again(),
        resumes(of=lambda peer: peer.notes["proof"]),
        log="the connection with … ended: expected a goodbye, got the end of the stream",
    ),
    not_here("69a", "resumes on two streams, on the earlier one last", early_and_later),
    ignored(
        "70a",
        "resumes a session whose connection lives: that is given up",
        TAKES_OVER,
        resumes(),
        hears(RESUMED),
        resumable=True,
    ),
    wrong(
        "70b",
        "resumes twice on one stream",
        TAKES_OVER,
        resumes(),
        hears(RESUMED),
        resumes(),
        says="expected no RESUME now",
    ),
    wrong(
        "70c",
        "says hello to one session, and resumes another",
        TAKES_OVER,
        resumes(session=OTHER),
        says="expected RESUME of the session that the hello names, got another",
        then_goes_back=True,
    ),
    wrong(
        "70d",
        "asks for a channel before it has resumed",
        TAKES_OVER,
        import_(0, "jobs"),
        says="expected no IMPORT now",
        then_goes_back=True,
    ),
    wrong(
        "71a",
        "has seen more control frames than were written",
        TAKES_OVER,
        resumes(seen=1),
        says="expected from 0 to 0 control frames seen, got 1",
    ),
    wrong(
        "71b",
        "has received more values than were sent",
        *JOBS,
        TAKES_OVER,
        resumes(seen=1, positions={0: 6}),
        says="expected a position from 0 to 5, where a batch ends, on channel 0, got 6",
    ),
    wrong(
        "71c",
        "has received fewer values than it has acknowledged",
        *JOBS,
        ack(0, 5, 10, 2**20),
        hears(DATA),
        TAKES_OVER,
        resumes(seen=1, positions={0: 0}),
        says="expected a position from 5 to 10, where a batch ends, on channel 0, got 0",
        acknowledged=5,
    ),
    wrong(
        "71d",
        "has received values where it sends",
        import_(0, "ints", receives=False),
        hears(ACCEPT),
        TAKES_OVER,
        resumes(seen=1, positions={0: 1}),
        says="expected no values received on channel 0, which sends none, got 1",
    ),
    wrong(
        "71e",
        "names a channel twice",
        *JOBS,
        TAKES_OVER,
        resumes(seen=1, positions={0: 5}, announced=2),
        frame(POSITION, 0, 5),
        says="expected POSITIONs in the order of the channels, each once, got channel 0 after channel 0",
    ),
    wrong(
        "71f",
        "says fewer positions than it announces",
        *JOBS,
        TAKES_OVER,
        resumes(seen=1, announced=2),
        import_(1, "empty"),
        says="expected no IMPORT now",
    ),
    wrong(
        "71g",
        "says more positions than it announces",
        TAKES_OVER,
        resumes(),
        frame(POSITION, 0, 0),
        says="expected no POSITION now",
    ),
    wrong(
        "71h",
        "announces 2^62 positions",
        *JOBS,
        TAKES_OVER,
        resumes(seen=1, announced=2**62),
        *(frame(POSITION, number, 0) for number in range(1000)),
        close(0),
        says="expected no CLOSE now",
        memory=2**20,
    ),
    wrong(
        "71i",
        "has received less than one batch",
        *JOBS,
        TAKES_OVER,
        resumes(seen=1, positions={0: 2}),
        says="expected a position from 0 to 5, where a batch ends, on channel 0, got 2",
    ),
    wrong(
        "71j",
        "has seen more control frames than were written, and says so in SEEN",
        frame(SEEN, 1),
        says="expected from 0 to 0 control frames seen, got 1",
    ),
    wrong(
        "71k",
        "takes SEEN back",
        *JOBS,
        frame(SEEN, 1),
        frame(SEEN, 0),
        says="expected from 1 to 1 control frames seen, got 0",
    ),
    broken(
        "71l", "says SEEN in a session that cannot be resumed", frame(SEEN, 0), says="expected no SEEN from an importer"
    ),
    broken(
        "71m",
        "resumes a session that cannot be resumed",
        frame(RESUME, ID, 0, bytes(32), 0, 0),
        says="expected no RESUME now",
    ),
    broken("71n", "says RESUMED", frame(RESUMED, bytes(32), 0, 0), says="expected no RESUMED now"),
    broken("71o", "says POSITION", frame(POSITION, 0, 0), says="expected no POSITION now"),
    not_here(
        "72a",
        "resumes a session of another exporter",
        again(RESUMES | {"session": b"other exporter's"}, keeps=True),
        resumes(session=b"other exporter's"),
    ),
    not_here("73a", "resumes with the right proof, and another certificate", as_somebody_else, transport="mutual tls"),
    ignored(
        "74a",
        "resumes when a channel was hung up meanwhile: that one is closed, the other goes on",
        import_(0, "ints", receives=False),
        import_(1, "anything", receives=False),
        hears(ACCEPT, ACCEPT),
        ends,
        waits_for_suspension,
        hangs_up("ints"),
        again(),
        resumes(seen=2),
        hears(RESUMED),
        data(1, 0, 1),
        resumable=True,
        log="the connection with … broke, its session waits 30 s for another: …",
    ),
    ignored(
        "75a",
        "leaves five sessions behind where two are kept: the oldest end",
        hoards(5),
        hello(),
        hears(HELLO),
        hello=False,
        limit="max_suspended",
        times=3,
        limits=Limits(max_suspended=2, resume_timeout=0.2),
        log="…",
        lines=20,
    ),
    ignored(
        "75b",
        "leaves five sessions behind where two of its address are kept: the oldest end",
        hoards(5),
        hello(),
        hears(HELLO),
        hello=False,
        limit="max_suspended_per_address",
        times=3,
        limits=Limits(max_suspended_per_address=2, resume_timeout=0.2),
        log="…",
        lines=20,
    ),
]
