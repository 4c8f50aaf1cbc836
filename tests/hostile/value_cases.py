"""Wire cases 20 to 31, as far as values go: a value that does not fit closes its channel, and nothing else."""

from __future__ import annotations

from cases import Case, ignored, refused
from frame_cases import claims
from raw_peer import Step, body, import_
from second_frames import ACCEPT, CLOSE, DATA
from second_session import encode, frame, head
from steps import hears, nested

__all__ = ["VALUE_CASES"]

ANY = b"\x81\x81\x00"
MIB = 2**20
REFUSED = "a value of an importer was refused: "


def sends(payload: bytes, name: str = "anything") -> tuple[bytes, Step, bytes]:
    return import_(0, name, receives=False, schema=ANY), hears(ACCEPT), frame(DATA, 0, 0, False, payload)


def one(item: bytes) -> bytes:
    """The payload of one value."""
    return b"\x81" + item


def unfit(
    number: str, does: str, payload: bytes, says: str, *, name: str = "anything", memory: int | None = None
) -> Case:
    """The value is refused: that channel is closed on both sides."""
    return refused(
        number, does, *sends(payload, name), hears(CLOSE), kind="CLOSE", code="VALUE_REFUSED", says=f"{name}: {says}",
        log=REFUSED + f"{name}: {says}", memory=memory,
    )  # fmt: skip


def colliding(count: int, behind: bytes = b"") -> bytes:
    """Bignums that all have the same hash in Python, with this behind each."""
    return b"".join(
        b"\xc2" + encode(((2**61 - 1) * (2**40 + number)).to_bytes(13, "big")) + behind for number in range(count)
    )


VALUE_CASES: list[Case] = [
    unfit("20e", "sends a value of 100,000 nested arrays", one(nested(100_000)), "…"),
    unfit("20f", "sends a value of 65 nested arrays", one(nested(64, b"\x80")), "…"),
    ignored("20g", "sends a value of 64 nested arrays", *sends(one(nested(63, b"\x80")))),
    unfit("20h", "sends a value of 100,000 nested tags", one(b"\xc2" * 100_000 + b"\x40"), "…"),
    unfit("20i", "sends a value of 100,000 nested maps", one(b"\xa1\x61x" * 30_000 + b"\x00"), "…"),
    unfit("21i", "sends an array that claims 2^60 items", one(claims(4)), "…", memory=MIB),
    unfit("21j", "sends a text that claims 2^60 bytes", one(claims(3)), "…", memory=MIB),
    unfit("21k", "sends a map that claims 2^60 entries", one(claims(5)), "…", memory=MIB),
    unfit("21l", "sends fewer values than it says", b"\x82\x01", "…"),
    unfit("21m", "sends more values than it says", b"\x81\x01\x02", "…"),
    unfit("22g", "sends a value of indefinite length", one(b"\x9f\xff"), "…"),
    unfit("23c", "sends a map with the same key twice", one(b"\xa2\x61x\x00\x61x\x01"), "…"),
    unfit("23d", "sends a record with a field twice", one(b"\xa2\x61x\x00\x61x\x01"), "…", name="points"),
    unfit("23e", "sends a set with an element twice", one(b"\xd9\x01\x02\x82\x01\x01"), "…"),
    unfit("23f", "sends a map with the keys 1 and 1.0", one(b"\xd8\x1b\x82\x63map\x84\x01\x00\xf9\x3c\x00\x00"), "…"),
    unfit("23g", "sends a map with the key NaN", one(b"\xd8\x1b\x82\x63map\x82\xf9\x7e\x00\x00"), "…"),
    unfit("24b", "sends a value that contains itself (tags 28, 29)", one(b"\xd8\x1c\x81\xd8\x1d\x00"), "…"),
    unfit("24c", "sends references to strings (tags 25, 256)", one(b"\xd9\x01\x00\x82\x64aaaa\xd8\x19\x00"), "…"),
    unfit("25a", "sends a regular expression (tag 35)", one(b"\xd8\x23\x6a(a+)+(b+)+"), "…"),
    unfit("25b", "sends a MIME message (tag 36)", one(b"\xd8\x24\x64\r\n\r\n"), "…"),
    unfit("25c", "sends an IP address (tag 260)", one(b"\xd9\x01\x04\x44\x7f\x00\x00\x01"), "…"),
    unfit("25d", "sends the self-described tag as a value", one(b"\xd9\xd9\xf7\x00"), "…"),
    ignored(
        "26d",
        "sends a bignum of 100,000 bytes where an integer is expected",
        *sends(one(b"\xc2" + body(b"\xff" * 100_000)), "ints"),
    ),
    unfit(
        "26e",
        "sends a decimal fraction with an exponent of 2^62 (tag 4)",
        one(b"\xc4\x82\x1b\x40" + bytes(7) + b"\x01"),
        "…",
    ),
    unfit(
        "26f", "sends a bigfloat with an exponent of 2^62 (tag 5)", one(b"\xc5\x82\x1b\x40" + bytes(7) + b"\x01"), "…"
    ),
    unfit("26g", "sends a decimal with an exponent of 1,000,000", one(b"\xd8\x1b\x82\x67decimal\x691E+1000000"), "…"),
    unfit("26h", "sends a rational (tag 30)", one(b"\xd8\x1e\x82\x01\x00"), "…"),
    unfit("26i", "sends a duration of 2^70 microseconds", one(b"\xd8\x1b\x82\x68duration\xc2\x49\x40" + bytes(8)), "…"),
    unfit("27h", "sends NaN where an integer is expected", one(b"\xf9\x7e\x00"), "…", name="ints"),
    unfit("27i", "sends undefined as a value", one(b"\xf7"), "…"),
    unfit("28f", "sends a text that is no UTF-8", one(b"\x62\xff\xfe"), "…"),
    unfit("28g", "sends a text with half of a surrogate pair", one(b"\x63\xed\xa0\x80"), "…"),
    unfit(
        "29a",
        "sends a map of 5,000 keys that collide",
        one(b"\xd8\x1b\x82\x63map" + head(4, 10_000) + colliding(5_000, b"\x00")),
        "…",
    ),
    unfit(
        "29b",
        "sends a set of 5,000 elements that collide",
        one(b"\xd9\x01\x02" + head(4, 5_000) + colliding(5_000)),
        "…",
    ),
    unfit("30a", "sends a text where an integer is expected", one(b"\x61x"), "…", name="ints"),
    unfit("30b", "sends 1.0 where an integer is expected", one(b"\xf9\x3c\x00"), "…", name="ints"),
    unfit("30c", "sends true where an integer is expected", one(b"\xf5"), "…", name="ints"),
    unfit("30d", "sends a record without a field", one(b"\xa1\x61y\x00"), "…", name="points"),
    unfit("30e", "sends a record with an unknown field", one(b"\xa2\x61x\x00\x61z\x00"), "…", name="points"),
    unfit("30f", "sends three values, of which the third does not fit", b"\x83\x01\x02\x61x", "…", name="ints"),
    unfit("30g", "sends a date that does not exist", one(b"\xd9\x03\xec\x6a2023-02-29"), "…"),
    unfit(
        "31a",
        "sends a value for which the program raises ValueError",
        one(b"\xa1\x65error\x65value"),
        "…",
        name="raises",
    ),
    unfit(
        "31b",
        "sends a value for which the program raises ZeroDivisionError",
        one(b"\xa1\x65error\x64zero"),
        "…",
        name="raises",
    ),
]
