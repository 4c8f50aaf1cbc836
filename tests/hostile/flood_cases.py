"""Wire cases 56 to 60: floods, and peers that do not read."""

from __future__ import annotations

from cases import Case, broken, ignored, reached, suspended
from channel_cases import SENDS
from raw_peer import import_, ping
from second_frames import DATA, PING
from second_session import frame
from steps import connects_and_goes, has_received, hears, waits

from trionetchan import Limits

__all__ = ["FLOOD_CASES"]

MIB = 2**20
MANY = 2**31
IMPATIENT = Limits(keepalive=0.1, keepalive_timeout=0.2)
PATIENT = Limits(
    keepalive=0.1,
    keepalive_timeout=0.2,
    max_imports_per_name=MANY,
    max_useless_frames=MANY,
    max_answer_bytes=2**16,
)
ANY = b"\x81\x81\x00"

FLOOD_CASES: list[Case] = [
    ignored("56a", "pings 1,000 times in one write: the last is answered", ping() * 1000, waits),
    reached(
        "56b",
        "pings without end",
        ping() * 5000,
        limit="max_useless_frames",
        says="expected at most 300 frames that bring nothing within 10 s, got more (max_useless_frames)",
        limits=Limits(max_useless_frames=300),
    ),
    ignored("56c", "answers 1,000 pings that nobody has sent", frame(9, 7) * 1000),
    broken(
        "57a",
        "sends a batch of no bytes",
        *SENDS,
        frame(DATA, 0, 0, False, b""),
        says="expected values, got an empty payload",
    ),
    broken(
        "57b",
        "sends a batch of no values",
        *SENDS,
        frame(DATA, 0, 0, False, b"\x80"),
        says="expected at least one value, got an empty batch",
    ),
    broken(
        "57c",
        "sends a batch that is no array",
        *SENDS,
        frame(DATA, 0, 0, False, b"\x01"),
        says="expected a batch of values (an array), got major type 0",
    ),
    broken(
        "57d",
        "sends a fragment of no bytes",
        *SENDS,
        frame(DATA, 0, 0, True, b"\x81"),
        frame(DATA, 0, 0, True, b""),
        says="expected values, got an empty payload",
    ),
    suspended(
        "58a",
        "asks 2,000 times for a channel with a large type, and reads no answer",
        *(import_(number, "described", schema=ANY) for number in range(2000)),
        says="expected a peer that reads, got … bytes that wait for it (max_answer_bytes)",
        limits=PATIENT,
        memory=4 * MIB,
        limit="max_answer_bytes",
        resumable=False,
    ),
    suspended(
        "59a",
        "asks for large values, and reads nothing",
        import_(0, "large", window=100, schema=b"\x81\x81\x06"),
        has_received(c0=0),
        says="expected …, got none for … s",
        limits=IMPATIENT,
    ),
    suspended(
        "59b",
        "is silent when it is asked for a sign of life",
        hears(PING),
        says="expected a sign of life, got none for … s",
        limits=IMPATIENT,
    ),
    suspended(
        "59c",
        "the same, in a session that cannot be resumed",
        hears(PING),
        says="expected a sign of life, got none for … s",
        limits=IMPATIENT,
        resumable=False,
    ),
    broken(
        "60a",
        "connects 30 times with bytes that are no hello",
        connects_and_goes(30),
        b"x",
        says=r"expected a stream that starts with b'\xd9\xd9\xf7', got b'x'",
        hello=False,
        log="…",
        lines=4,
        limits=Limits(max_log_lines=3),
    ),
]
