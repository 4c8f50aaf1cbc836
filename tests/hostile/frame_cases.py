"""Wire cases 11 to 28, as far as frames go: how they are cut, and what is in them."""

from __future__ import annotations

from cases import Case, broken, ignored, reached, refused, suspended
from raw_peer import body, data, import_, ping
from second_frames import ACCEPT, DATA
from second_session import frame
from steps import dribbles, ends, frame_of, hears, nested, resets, waits

from trionetchan import Limits

__all__ = ["FRAME_CASES"]

MIB = 2**20
BOUND = (import_(0, "anything", receives=False, schema=b"\x81\x81\x00"), hears(ACCEPT))
JOBS = (import_(0, "jobs"), hears(DATA))
SMALL = Limits(max_value_size=1000)
FRAME = "expected a frame of 1 to 131072 bytes, got "
CUT_SHORT = "expected a whole frame, got one that is cut short"
UINT = "expected an unsigned integer, got the byte 0x"
END = "expected a goodbye, got the end of the stream"
HUGE = b"\x1b\x10" + bytes(7)  # 2^60, as the argument of a head whose major type is added


def claims(major: int) -> bytes:
    """An item that says it has 2^60 bytes, items or entries."""
    return bytes([major << 5 | 27]) + HUGE[1:]


def import_of(
    *,
    channel: bytes = b"\x00",
    name: bytes = b"\x64jobs",
    receives: bytes = b"\xf5",
    window: bytes = b"\x05",
    count: bytes = b"\xf6",
    schema: bytes = b"\x43\x81\x81\x03",
) -> bytes:
    """An IMPORT of which each field is any item."""
    return frame_of(b"\x01", channel, name, receives, window, count, schema)


def trailing(item: bytes, *more: bytes) -> bytes:
    """A PING with these items behind its field."""
    return frame_of(b"\x08", b"\x07", item, *more)


FRAME_CASES: list[Case] = [
    # Lengths
    broken(
        "11a",
        "says a length of 2^32-1 before its hello",
        b"\xd9\xd9\xf7\x5a\xff\xff\xff\xff",
        says=FRAME + str(2**32 - 1),
        hello=False,
        memory=MIB,
    ),
    broken(
        "11b", "says a length of 2^32-1", b"\x5a\xff\xff\xff\xff" + bytes(1000), says=FRAME + str(2**32 - 1), memory=MIB
    ),
    broken("11c", "says a length of 2^60", claims(2), says=FRAME + str(2**60), memory=MIB),
    broken("11d", "says a length of 2^64-1", b"\x5b" + b"\xff" * 8, says=FRAME + str(2**64 - 1), memory=MIB),
    broken("12a", "sends a frame of no bytes", b"\x40", says=FRAME + "0"),
    broken("12b", "sends a frame of no bytes, whose length takes eight", b"\x5b" + bytes(8), says=FRAME + "0"),
    broken("13a", "sends a frame of one byte more than allowed", body(bytes(131_073)), says=FRAME + "131073"),
    ignored(
        "13b",
        "sends a frame of just as many bytes as allowed",
        trailing(b"\x5a" + (131_063).to_bytes(4, "big") + bytes(131_063)),
    ),
    broken(
        "13c",
        "sends a value of one byte more than allowed",
        *BOUND,
        data(0, 0, bytes(998)),
        says="expected a value of at most 1000 bytes, got more",
        limits=SMALL,
    ),
    ignored("13d", "sends a value of just as many bytes as allowed", *BOUND, data(0, 0, bytes(997)), limits=SMALL),
    suspended("14a", "ends the stream within a frame's length", b"\x59\x01", ends, says=END),
    suspended("14b", "ends the stream within a frame", import_(0, "jobs")[:5], ends, says=END),
    suspended("14c", "ends the stream within values", *BOUND, data(0, 0, bytes(5000))[:100], ends, says=END),
    suspended("14d", "ends the stream between two frames", ping(), waits, ends, says=END),
    suspended(
        "14e",
        "resets the connection within a frame",
        waits,
        import_(0, "jobs")[:5],
        resets,
        says="expected a goodbye, got: …",
    ),
    suspended(
        "14f",
        "ends the stream within a frame, of a session that cannot be resumed",
        *JOBS,
        ping()[:1],
        ends,
        says=END,
        resumable=False,
    ),
    suspended(
        "14g",
        "ends the stream within a large frame, which is passed on in parts",
        *BOUND,
        data(0, 0, bytes(60_000))[:50_000],
        ends,
        says=END,
    ),
    reached(
        "15a",
        "sends a frame one byte at a time",
        dribbles(body(bytes(10_000))),
        says="expected a whole frame within 0.2 s, got a part of one (frame_timeout)",
        limit="frame_timeout",
        limits=Limits(frame_timeout=0.2),
    ),
    reached(
        "15b",
        "says half of a frame, and then nothing",
        import_(0, "jobs")[:5],
        says="expected a whole frame within 0.2 s, got a part of one (frame_timeout)",
        limit="frame_timeout",
        limits=Limits(frame_timeout=0.2),
    ),
    # What is in a frame
    broken("16a", "sends a frame of kind 16", frame(16), says="expected a frame of a known kind, got kind 16"),
    broken(
        "16b", "sends a frame of kind 2^62", frame(2**62), says=f"expected a frame of a known kind, got kind {2**62}"
    ),
    broken("16c", "sends a frame whose kind is text", frame("PING"), says=UINT + "64"),
    broken("16d", "sends a frame of kind -1", frame_of(b"\x20"), says=UINT + "20"),
    broken(
        "16e",
        "sends a frame that is an empty array",
        body(b"\x80"),
        says="expected a frame (an array), got the byte 0x80",
    ),
    broken(
        "16f",
        "sends a frame that is a map",
        body(b"\xa1\x08\x00"),
        says="expected a frame (an array), got the byte 0xa1",
    ),
    broken(
        "16g",
        "sends a frame with too few fields",
        frame_of(b"\x05", b"\x00", b"\x00"),
        says="expected 4 fields in ACK, got 2",
    ),
    broken(
        "16h",
        "sends an item that is no frame",
        b"\x83\x01\x02\x03",
        says="expected the head of a frame (a byte string), got the byte 0x83",
    ),
    ignored("17a", "sends an unknown field behind the others", trailing(b"\x00")),
    ignored(
        "17b",
        "sends unknown fields of each kind",
        trailing(b"\x20", b"\x41\xff", b"\x61x", b"\x80", b"\xa1\x00\x00", b"\xc1\x00", b"\xf6", b"\xfb" + bytes(8)),
    ),
    ignored("17c", "sends an unknown field, nested 8 deep", trailing(nested(7))),
    broken(
        "17d",
        "sends an unknown field, nested 9 deep",
        trailing(nested(8)),
        says="expected at most 8 nested CBOR items, got more",
    ),
    broken(
        "17e",
        "sends an unknown field that is cut short",
        trailing(b"\x82\x00"),
        says="expected a whole CBOR item, got one that is cut short",
    ),
    broken(
        "18a",
        "sends a byte behind the frame's array",
        body(b"\x82\x08\x00\x00"),
        says="expected the end of the frame, got 1 bytes more",
    ),
    broken(
        "18b",
        "sends two arrays in one frame",
        body(b"\x82\x08\x00" * 2),
        says="expected the end of the frame, got 3 bytes more",
    ),
    reached(
        "19a",
        "sends one value in fragments of one byte, without end",
        *BOUND,
        frame(4, 0, 0, True, b"\x81"),
        *[frame(4, 0, 0, True, b"\x5a\x00\xff\xff\xff"), *[frame(4, 0, 0, True, b"\x00") * 5000] * 4],
        says="expected at most 300 frames that bring nothing within 10 s, got more (max_useless_frames)",
        limit="max_useless_frames",
        limits=Limits(max_useless_frames=300),
    ),
    broken(
        "19b",
        "sends one value in fragments, beyond the largest value",
        *BOUND,
        frame(4, 0, 0, True, b"\x81\x5a\x00\xff\xff\xff"),
        *[frame(4, 0, 0, True, bytes(100))] * 20,
        says="expected a value of at most 1000 bytes, got more",
        limits=SMALL,
    ),
    reached(
        "19c",
        "sends one value so slowly that it has no end",
        *BOUND,
        frame(4, 0, 0, True, b"\x81\x5a\x00\xff\xff\xff"),
        says="expected a whole value within 0.2 s on channel 0, got a part of one (value_timeout)",
        limit="value_timeout",
        limits=Limits(value_timeout=0.2),
    ),
    broken(
        "19d",
        "lets another value come between the fragments of one",
        *BOUND,
        frame(4, 0, 0, True, b"\x81\x42\x00"),
        data(0, 1, 5),
        says="expected the value number 0, got number 1",
    ),
    # Items
    broken("20a", "sends 100,000 nested arrays as a field", frame_of(b"\x08", nested(100_000)), says=UINT + "81"),
    broken(
        "20b",
        "sends 100,000 nested arrays behind the fields",
        trailing(nested(100_000)),
        says="expected at most 8 nested CBOR items, got more",
    ),
    refused(
        "20c",
        "sends 100,000 nested arrays as a schema",
        import_(0, "jobs", schema=nested(100_000)),
        code="TYPE_MISMATCH",
        says="jobs: …",
    ),
    refused(
        "20d",
        "sends 30,000 nested arrays as a schema",
        import_(0, "jobs", schema=nested(30_000)),
        code="TYPE_MISMATCH",
        says="jobs: …",
    ),
    broken("21a", "asks for a name that claims 2^60 bytes", import_of(name=claims(3)), says=CUT_SHORT, memory=MIB),
    broken(
        "21b",
        "sends an unknown field that claims 2^60 items",
        trailing(claims(4)),
        says="expected a whole CBOR item, got one that is cut short",
        memory=MIB,
    ),
    broken(
        "21c",
        "sends a batch that claims 2^60 values",
        *BOUND,
        frame(4, 0, 0, False, claims(4)),
        says=f"expected values up to number 5, got up to {2**60}",
        memory=MIB,
    ),
    broken("21d", "sends a schema that claims 2^60 bytes", import_of(schema=claims(2)), says=CUT_SHORT, memory=MIB),
    refused(
        "21e",
        "sends a schema whose table claims 2^60 nodes",
        import_(0, "jobs", schema=claims(4)),
        code="TYPE_MISMATCH",
        says="jobs: …",
        memory=MIB,
    ),
    broken(
        "21f",
        "says hello with 2^60 parameters",
        b"\xd9\xd9\xf7" + frame_of(b"\x00", b"\x01", claims(5)),
        says=f"expected a map of at most 64 parameters, got major type 5, length {2**60}",
        hello=False,
        memory=MIB,
    ),
    broken(
        "21g",
        "sends a frame of 2^60 fields",
        body(claims(4) + b"\x08\x00"),
        says="expected a whole CBOR item, got one that is cut short",
        memory=MIB,
    ),
    broken(
        "21h",
        "settles 2^60 ranges",
        frame_of(b"\x06", b"\x00", claims(4), b"\x00"),
        says=f"expected an array of 1 to 256 ranges, two integers each, got major type 4, length {2**60}",
        memory=MIB,
    ),
    broken(
        "22a",
        "sends a frame of indefinite length",
        b"\x5f\x43\x82\x08\x00\xff",
        says="expected a definite CBOR item, got the initial byte 0x5f",
    ),
    broken(
        "22b",
        "sends a frame that is an array of indefinite length",
        body(b"\x9f\x08\x00\xff"),
        says="expected a definite CBOR item, got the initial byte 0x9f",
    ),
    broken(
        "22c",
        "asks for a name of indefinite length",
        import_of(name=b"\x7f\x64jobs\xff"),
        says="expected a definite CBOR item, got the initial byte 0x7f",
    ),
    broken(
        "22d",
        "says hello with parameters of indefinite length",
        b"\xd9\xd9\xf7" + frame_of(b"\x00", b"\x01", b"\xbf\xff"),
        says="expected a definite CBOR item, got the initial byte 0xbf",
        hello=False,
    ),
    broken(
        "22e",
        "sends a batch of indefinite length",
        *BOUND,
        frame(4, 0, 0, False, b"\x9f\x01\xff"),
        says="expected a definite CBOR item, got the initial byte 0x9f",
    ),
    broken(
        "22f",
        "sends a head that means nothing",
        frame_of(b"\x08", b"\x1c"),
        says="expected a definite CBOR item, got the initial byte 0x1c",
    ),
    broken(
        "23a",
        "says hello with a parameter twice",
        b"\xd9\xd9\xf7" + frame_of(b"\x00", b"\x01", b"\xa2\x65value\x0a\x65value\x0a"),
        says="expected each parameter once, got 'value' twice",
        hello=False,
    ),
    broken(
        "23b",
        "says hello with an unknown parameter twice",
        b"\xd9\xd9\xf7" + frame_of(b"\x00", b"\x01", b"\xa2\x61x\x0a\x61x\x0b"),
        says="expected each parameter once, got 'x' twice",
        hello=False,
    ),
    broken(
        "24a", "sends a reference to a shared item as a channel", import_of(channel=b"\xd8\x1d\x00"), says=UINT + "d8"
    ),
    broken("26a", "sends a bignum as a channel", import_of(channel=b"\xc2\x41\x00"), says=UINT + "c2"),
    broken(
        "26b",
        "sends a bignum of 100,000 bytes as a window",
        import_of(window=b"\xc2" + body(b"\xff" * 100_000)),
        says=UINT + "c2",
    ),
    broken(
        "26c",
        "sends a decimal with an exponent of 2^62 as a window",
        import_of(window=b"\xc4\x82\x1b\x40" + bytes(7) + b"\x01"),
        says=UINT + "c4",
    ),
    broken("27a", "sends NaN as a window", import_of(window=b"\xf9\x7e\x00"), says=UINT + "f9"),
    broken("27b", "sends true as a window", import_of(window=b"\xf5"), says=UINT + "f5"),
    broken("27c", "sends 1.0 as a count", import_of(count=b"\xf9\x3c\x00"), says=UINT + "f9"),
    broken("27d", "sends null as a window", import_of(window=b"\xf6"), says=UINT + "f6"),
    broken("27e", "sends 1 as a flag", import_of(receives=b"\x01"), says="expected true or false, got the byte 0x01"),
    broken(
        "27f",
        "sends undefined as a flag",
        import_of(receives=b"\xf7"),
        says="expected true or false, got the byte 0xf7",
    ),
    broken(
        "27g",
        "sends true as a flag, in two bytes",
        import_of(receives=b"\xf8\x15"),
        says="expected true or false, got the byte 0xf8",
    ),
    broken(
        "28a",
        "asks for a name that is no UTF-8",
        import_of(name=b"\x64\xff\xfe\xfd\xfc"),
        says="expected text in UTF-8, got other bytes",
    ),
    broken(
        "28b",
        "asks for a name with half of a surrogate pair",
        import_of(name=b"\x63\xed\xa0\x80"),
        says="expected text in UTF-8, got other bytes",
    ),
    broken(
        "28c",
        "asks for a name with a byte that is longer than needed",
        import_of(name=b"\x62\xc1\x81"),
        says="expected text in UTF-8, got other bytes",
    ),
    broken(
        "28d",
        "closes a channel with a message that is no UTF-8",
        *BOUND,
        frame_of(b"\x07", b"\x00", b"\x00", b"\x00", b"\x61\xff"),
        says="expected text in UTF-8, got other bytes",
    ),
    broken(
        "28e",
        "says hello with a parameter's name that is no UTF-8",
        b"\xd9\xd9\xf7" + frame_of(b"\x00", b"\x01", b"\xa1\x61\xff\x00"),
        says="expected text in UTF-8, got other bytes",
        hello=False,
    ),
]
