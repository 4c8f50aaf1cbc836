"""Wire cases 32 to 55: credit, channels, acknowledgement."""

from __future__ import annotations

from cases import Case, broken, ignored, reached, refused
from raw_peer import accept, ack, close, data, goodbye, import_, reject, settle
from second_frames import ACCEPT, ACK, CLOSE, DATA, REDELIVERED, REJECT
from second_session import frame
from steps import frame_of, hears, hears_accept, waits

from trionetchan import Limits

__all__ = ["CHANNEL_CASES"]

FINISHED, HUNG_UP, RECEIVER_GONE, VALUE_REFUSED, WITHDRAWN, COUNT_REACHED, LIMIT = range(7)
SENDS = (import_(0, "ints", receives=False), hears(ACCEPT))
FULL = (import_(0, "full", receives=False, schema=b"\x81\x81\x06"), hears(ACCEPT))
RECEIVES = (import_(0, "jobs"), hears(DATA))
SETTLES = (import_(0, "jobs", settles=True), hears(DATA))
EMPTY = (import_(0, "empty"), hears(ACCEPT))
SMALL = Limits(max_buffered_bytes=1000, max_value_size=10_000)
CODES = "FINISHED, HUNG_UP, RECEIVER_GONE, VALUE_REFUSED, COUNT_REACHED"
NO_NAME = "expected a channel name of 1 to 255 bytes without control characters, got "


def uint(number: int) -> bytes:
    return b"\x1b" + number.to_bytes(8, "big")


def never(kind: str) -> str:
    return f"expected a channel below 0, got {kind} for channel 0"


def unnamed(number: str, does: str, name: bytes, shown: str, head: bytes | None = None) -> Case:
    """A name that breaks the protocol."""
    item = (bytes([0x60 | len(name)]) if head is None else head) + name
    fields = (b"\x01", b"\x00", item, b"\xf5", b"\x05", b"\xf6", b"\x40")
    return broken(number, does, frame_of(*fields), says=NO_NAME + shown)


CREDIT: list[Case] = [
    broken(
        "32a",
        "sends one value more than allowed, in one batch",
        *SENDS,
        data(0, 0, *range(6)),
        says="expected values up to number 5, got up to 6",
    ),
    broken(
        "32b",
        "sends one value more than allowed, by and by",
        *FULL,
        *(data(0, number, b"x") for number in range(6)),
        says="expected values up to number 5, got up to 6",
    ),
    broken(
        "32c",
        "has a window of 100, and sends more than the 8 that it is granted",
        import_(0, "full", receives=False, window=100, schema=b"\x81\x81\x06"),
        hears(ACCEPT),
        data(0, 0, *[b"x"] * 9),
        says="expected values up to number 8, got up to 9",
    ),
    broken(
        "32d",
        "sends one byte beyond the limit of bytes, in one frame",
        *FULL,
        data(0, 0, bytes(400), bytes(596)),
        says="expected payloads up to 1000 bytes, got 1003",
        limits=SMALL,
    ),
    broken(
        "32e",
        "sends one byte beyond the limit of bytes, in the second fragment",
        *FULL,
        frame(DATA, 0, 0, True, b"\x82\x59\x03\x00" + bytes(600)),
        frame(DATA, 0, 0, False, bytes(397)),
        says="expected payloads up to 1000 bytes, got 1001",
        limits=SMALL,
    ),
    broken(
        "32f",
        "sends a value beyond the limit of bytes while another is not delivered",
        *FULL,
        data(0, 0, b"x"),
        data(0, 1, bytes(2000)),
        says="expected payloads up to 1000 bytes, got 2007",
        limits=SMALL,
    ),
    ignored("32g", "sends just as many bytes as allowed", *FULL, data(0, 0, bytes(400), bytes(593)), limits=SMALL),
    ignored(
        "32h",
        "sends a single value beyond the limit of bytes, when all is delivered",
        *FULL,
        data(0, 0, bytes(2000)),
        limits=SMALL,
    ),
    broken(
        "32i",
        "sends more values than its count",
        import_(0, "full", receives=False, count=2, schema=b"\x81\x81\x06"),
        hears(ACCEPT),
        data(0, 0, *[b"x"] * 3),
        says="expected values up to number 2, got up to 3",
    ),
    ignored("33a", "takes its limits back", *RECEIVES, ack(0, 0, 0, 0), ack(0, 0, 1, 1)),
    ignored("33b", "says the same limits again and again", *RECEIVES, ack(0, 0, 5, 2**20) * 100),
    broken(
        "34a",
        "grants 2^63 values",
        *RECEIVES,
        frame_of(b"\x05", b"\x00", b"\x00", uint(2**63), b"\x00"),
        says=f"expected an integer up to 2^62, got {2**63}",
    ),
    broken(
        "34b",
        "grants 2^62 + 1 bytes",
        *RECEIVES,
        frame_of(b"\x05", b"\x00", b"\x00", b"\x05", uint(2**62 + 1)),
        says=f"expected an integer up to 2^62, got {2**62 + 1}",
    ),
    ignored("34c", "grants 2^62 values and bytes", *RECEIVES, ack(0, 0, 2**62, 2**62)),
    ignored(
        "35a",
        "grants nothing more, ever; another channel of it goes on",
        *RECEIVES,
        import_(1, "ints", receives=False),
        hears(ACCEPT),
        data(1, 0, 1),
        hears(ACK),
    ),
    ignored(
        "36a",
        "grants one value at a time",
        import_(0, "jobs", window=1),
        hears(DATA),
        ack(0, 1, 2, 2**20),
        hears(DATA),
        ack(0, 2, 3, 2**20),
        hears(DATA),
        acknowledged=2,
    ),
    ignored("36b", "grants bytes one by one", *RECEIVES, *(ack(0, 0, 5, 2**20 + number) for number in range(1000))),
    ignored(
        "37a",
        "asks for a window of 10^9, which is cut",
        import_(0, "ints", receives=False, window=10**9),
        hears_accept(8),
    ),
    ignored(
        "37b",
        "asks for a window of 2^62 where it receives, which is cut",
        import_(0, "empty", window=2**62),
        hears_accept(2**16),
    ),
    broken(
        "37c",
        "asks for a window of 0",
        import_(0, "jobs", window=0),
        says="expected a window of at least 1, got 0, on channel 'jobs'",
    ),
    ignored("37d", "announces 2^62 values", import_(0, "ints", receives=False, count=2**62), hears(ACCEPT)),
    ignored("37e", "announces no values", import_(0, "ints", receives=False, count=0), hears(ACCEPT, CLOSE)),
]
CHANNELS: list[Case] = [
    refused(
        "38a",
        "asks for a name that there is not",
        import_(0, "nothing"),
        hears(REJECT),
        code="NO_SUCH_CHANNEL",
        says="nothing: expected a name that is exported, got one that is not",
    ),
    reached(
        "38b",
        "asks for names that there are not, again and again",
        *(import_(number, "nothing") for number in range(12)),
        limit="max_refusals",
        says="expected at most 10 refused imports and values, got more (max_refusals)",
    ),
    ignored(
        "38c",
        "asks ten times for names that there are not",
        *(import_(number, "nothing") for number in range(10)),
        waits,
    ),
    refused(
        "39a",
        "receives where the exporter receives",
        import_(0, "ints"),
        hears(REJECT),
        code="WRONG_DIRECTION",
        says="ints: expected the two sides in opposite directions, got both that receive",
    ),
    refused(
        "39b",
        "sends where the exporter sends",
        import_(0, "jobs", receives=False),
        hears(REJECT),
        code="WRONG_DIRECTION",
        says="jobs: expected the two sides in opposite directions, got both that send",
    ),
    refused(
        "39c",
        "receives other values than are sent",
        import_(0, "jobs", schema=b"\x81\x81\x05"),
        hears(REJECT),
        code="TYPE_MISMATCH",
        says="jobs: …",
    ),
    refused(
        "39d",
        "sends other values than are received",
        import_(0, "ints", receives=False, schema=b"\x81\x81\x05"),
        hears(REJECT),
        code="TYPE_MISMATCH",
        says="ints: …",
    ),
    refused(
        "39e", "sends no schema", import_(0, "jobs", schema=b""), hears(REJECT), code="TYPE_MISMATCH", says="jobs: …"
    ),
    refused(
        "39f",
        "sends a schema of 100,000 bytes",
        import_(0, "jobs", schema=bytes(100_000)),
        hears(REJECT),
        code="TYPE_MISMATCH",
        says="jobs: …",
    ),
    refused(
        "39g",
        "sends a schema that refers to a node that there is not",
        import_(0, "jobs", schema=b"\x81\x82\x0e\x05"),
        hears(REJECT),
        code="TYPE_MISMATCH",
        says="jobs: …",
    ),
    refused(
        "39h",
        "sends a schema that is a union of itself",
        import_(0, "jobs", schema=b"\x81\x82\x13\x00"),
        hears(REJECT),
        code="TYPE_MISMATCH",
        says="jobs: …",
    ),
    broken(
        "40a",
        "asks with an id that is open",
        *RECEIVES,
        import_(0, "empty"),
        says="expected the channel id 1 next, got 0",
    ),
    broken(
        "40b",
        "asks with an id that was closed",
        *RECEIVES,
        close(0, 0, WITHDRAWN),
        import_(0, "empty"),
        says="expected the channel id 1 next, got 0",
    ),
    broken("40c", "leaves an id out", import_(1, "jobs"), says="expected the channel id 0 next, got 1"),
    broken(
        "40d", "begins with the id 2^62", import_(2**62, "jobs"), says=f"expected the channel id 0 next, got {2**62}"
    ),
    broken("40e", "accepts its own import", *RECEIVES, accept(0), says="expected no ACCEPT from an importer"),
    broken("40f", "refuses its own import", *RECEIVES, reject(0, 7), says="expected no REJECT from an importer"),
    broken("41a", "sends values on an id that was never opened", data(0, 0, 1), says=never("DATA")),
    broken("41b", "closes an id that was never opened", close(0), says=never("CLOSE")),
    broken("41c", "settles values of an id that was never opened", settle(0, 0, 1), says=never("SETTLE")),
    broken(
        "41d",
        "says that values come again, on an id that was never opened",
        frame(REDELIVERED, 0, 0, 1),
        says=never("REDELIVERED"),
    ),
    ignored(
        "42a",
        "sends values behind its count, when the exporter has closed",
        import_(0, "ints", receives=False, count=1),
        hears(ACCEPT),
        data(0, 0, 1),
        hears(CLOSE),
        data(0, 1, 2),
        data(0, 77, 3),
    ),
    ignored(
        "42b",
        "sends values behind one that was refused",
        *SENDS,
        data(0, 0, "x"),
        hears(CLOSE),
        data(0, 1, 2),
        close(0, 2),
        log="a value of an importer was refused: ints: …",
    ),
    ignored(
        "42c",
        "sends all kinds of frames for a channel that is closed",
        *RECEIVES,
        close(0, 0, WITHDRAWN),
        data(0, 5, 1),
        ack(0, 99, 99, 99),
        settle(0, 0, 2**62),
        frame(REDELIVERED, 0, 0, 0),
    ),
    refused(
        "43a",
        "binds one channel more than allowed",
        import_(0, "ints", receives=False),
        hears(ACCEPT),
        import_(1, "empty"),
        import_(2, "empty"),
        hears(ACCEPT, ACCEPT),
        import_(3, "anything", receives=False),
        hears(REJECT),
        code="LIMIT",
        says="anything: expected at most 3 channels at a time, got one more",
        limits=Limits(max_channels=3),
        limit="max_channels",
    ),
    refused(
        "43b",
        "binds a name one time more than allowed",
        *(import_(number, "empty") for number in range(3)),
        hears(REJECT),
        code="LIMIT",
        says="empty: expected at most 2 imports of a name at a time, got one more",
        limits=Limits(max_imports_per_name=2),
        limit="max_imports_per_name",
    ),
    ignored(
        "44a",
        "opens and closes 50 channels",
        *(import_(number, "empty") + close(number, 0, WITHDRAWN) for number in range(50)),
        waits,
    ),
    reached(
        "44b",
        "opens and closes channels without end",
        *(import_(number, "empty") + close(number, 0, WITHDRAWN) for number in range(3000)),
        limit="max_useless_frames",
        says="expected at most 300 frames that bring nothing within 10 s, got more (max_useless_frames)",
        limits=Limits(max_useless_frames=300),
    ),
    reached(
        "45a",
        "sends value after value that is refused",
        *(import_(number, "ints", receives=False) + data(number, 0, "x") for number in range(12)),
        limit="max_refusals",
        says="expected at most 10 refused imports and values, got more (max_refusals)",
        log="…",
        lines=12,
    ),
    unnamed("46a", "asks for a name of no bytes", b"", "''"),
    unnamed("46b", "asks for a name of 256 bytes", b"x" * 256, f"'{'x' * 40}…'", b"\x79\x01\x00"),
    unnamed("46c", "asks for a name with a line break", b"a\nb", r"'a\\nb'"),
    unnamed("46d", "asks for a name with U+0000", b"a\x00", r"'a\\x00'"),
    unnamed("46e", "asks for a name with U+009B, that begins a command of a terminal", "\x9b".encode(), r"'\\x9b'"),
    unnamed("46f", "asks for a name with U+2028", "\u2028".encode(), r"'\\u2028'"),
    broken(
        "46g",
        "asks for a name of 10 MiB",
        b"\x5a\x00\xa0\x00\x20" + bytes(2**17),
        says=f"expected a frame of 1 to 131072 bytes, got {10 * 2**20 + 32}",
    ),
    unnamed("46h", "asks for a name of 100,000 bytes", b"x" * 100_000, f"'{'x' * 40}…'", b"\x7a\x00\x01\x86\xa0"),
    refused(
        "46i",
        "asks for a name with U+202E, which turns text around",
        import_(0, "a\u202eb"),
        hears(REJECT),
        code="NO_SUCH_CHANNEL",
        says="a\u202eb: expected a name that is exported, got one that is not",
    ),
    refused(
        "46j", "asks for a name of 255 bytes", import_(0, "x" * 255), hears(REJECT), code="NO_SUCH_CHANNEL", says="x…"
    ),
    broken(
        "47a",
        "sends values where it receives",
        *RECEIVES,
        data(0, 0, 1),
        says="expected no DATA for channel 0, which is sending here",
    ),
    broken(
        "47b",
        "acknowledges values where it sends",
        *SENDS,
        ack(0, 0, 9, 9),
        says="expected no ACK for channel 0, which is receiving here",
    ),
    broken(
        "47c",
        "says that values come again where it receives",
        *RECEIVES,
        frame(REDELIVERED, 0, 0, 1),
        says="expected no REDELIVERED for channel 0, which is sending here",
    ),
    broken(
        "47d",
        "sends values behind its close",
        *FULL,
        data(0, 0, b"x"),
        close(0, 1),
        data(0, 1, b"x"),
        says="expected no DATA for channel 0, which is settling here",
    ),
]
CLOSES: list[Case] = [
    ignored(
        "48a",
        "closes a channel twice where it receives",
        *RECEIVES,
        close(0, 0, RECEIVER_GONE),
        close(0, 0, RECEIVER_GONE),
    ),
    ignored(
        "48b",
        "closes a channel twice where it sends, with other words",
        *FULL,
        data(0, 0, b"x"),
        close(0, 1),
        close(0, 77, HUNG_UP, "x"),
    ),
    broken(
        "48c",
        "closes as a sender that refuses a value",
        *SENDS,
        close(0, 0, VALUE_REFUSED),
        says="expected one of FINISHED, HUNG_UP, LIMIT in CLOSE of channel 0, got VALUE_REFUSED",
    ),
    broken(
        "48d",
        "closes as a receiver at a limit",
        *RECEIVES,
        close(0, 0, LIMIT),
        says=f"expected one of {CODES} in CLOSE of channel 0, got LIMIT",
    ),
    broken(
        "48e",
        "closes with a code that means nothing",
        *RECEIVES,
        close(0, 0, 16),
        says="expected a code from 0 to 15, got 16",
    ),
    broken(
        "48f",
        "says that a count is reached that is not",
        import_(0, "jobs", count=5),
        hears(DATA),
        close(0, 3, COUNT_REACHED),
        says="expected channel 0 to reach a count of 5, got its end after 3",
    ),
    broken(
        "48g",
        "says that a count is reached where there is none",
        *RECEIVES,
        close(0, 0, COUNT_REACHED),
        says="expected no COUNT_REACHED on channel 0, which has no count, got one",
    ),
    broken(
        "48h",
        "closes behind more values than it has sent",
        *SENDS,
        data(0, 0, 1),
        close(0, 2),
        says="expected the close of channel 0 after 1 values, got it after 2",
    ),
    broken(
        "48i",
        "closes behind fewer values than it has sent",
        *SENDS,
        data(0, 0, 1),
        close(0, 0),
        says="expected the close of channel 0 after 1 values, got it after 0",
    ),
    ignored(
        "48j",
        "closes within a batch, which is dropped",
        *SENDS,
        frame(DATA, 0, 0, True, b"\x81\x19"),
        close(0, 0),
        hears(CLOSE),
    ),
    ignored(
        "48k",
        "withdraws what it sends, with values on the way",
        *SENDS,
        data(0, 0, 1),
        close(0, 1, WITHDRAWN),
        hears(CLOSE),
    ),
    ignored(
        "48l",
        "says goodbye with an error, in words that would break a log",
        goodbye(10, "a\nb\x1b[2J" + "x" * 50_000),
        leaves=True,
        log=r"the connection with … ended: the peer ended the connection: a\nb\x1b[2Jxxx…",
    ),
]
ACKNOWLEDGEMENT: list[Case] = [
    broken(
        "49a",
        "acknowledges a value before any was sent",
        *EMPTY,
        ack(0, 1, 9, 2**20),
        says="expected at most 0 values acknowledged, got 1",
    ),
    broken(
        "49b",
        "acknowledges one value more than was sent",
        *RECEIVES,
        ack(0, 6, 9, 2**20),
        says="expected at most 5 values acknowledged, got 6",
    ),
    broken(
        "49c",
        "counts more in its last word than was sent",
        *RECEIVES,
        close(0, 6, RECEIVER_GONE),
        says="expected at most 5 values acknowledged, got 6",
    ),
    ignored(
        "50a",
        "acknowledges three values, and then one",
        *RECEIVES,
        ack(0, 3, 8, 2**20),
        ack(0, 1, 8, 2**20),
        acknowledged=3,
    ),
    ignored(
        "50b",
        "counts less in its last word than it has acknowledged",
        *RECEIVES,
        ack(0, 3, 8, 2**20),
        close(0, 1, RECEIVER_GONE),
        acknowledged=3,
    ),
    broken("51a", "acknowledges values of an id that was never opened", ack(0, 0, 1, 1), says=never("ACK")),
    broken(
        "51b",
        "settles a value twice",
        *SETTLES,
        settle(0, 0, 1),
        settle(0, 0, 2),
        says="expected each value to be settled once, got number 0 twice",
        acknowledged=1,
    ),
    broken(
        "51c",
        "settles a value that was not sent",
        *SETTLES,
        settle(0, 5, 1),
        says="expected values up to 5 settled, got 1 from 5 on",
    ),
    broken(
        "51d", "settles no value", *SETTLES, settle(0, 0, 0), says="expected values up to 5 settled, got 0 from 0 on"
    ),
    broken(
        "51e",
        "settles 2^62 values",
        *SETTLES,
        settle(0, 0, 2**62),
        says=f"expected values up to 5 settled, got {2**62} from 0 on",
    ),
    broken(
        "51f",
        "settles the same value in two ranges",
        *SETTLES,
        settle(0, 0, 1, 0, 1),
        says="expected each value to be settled once, got number 0 twice",
    ),
    broken(
        "51g",
        "settles values of a channel that does not settle",
        *RECEIVES,
        settle(0, 0, 1),
        says="expected no SETTLE for channel 0, whose values are not settled one by one, got one",
    ),
    broken(
        "51h",
        "settles with an outcome that there is not",
        *SETTLES,
        settle(0, 0, 1, outcome=2),
        says="expected an outcome, 0 (accepted) or 1 (rejected), got 2",
    ),
    broken(
        "51i",
        "settles half a range",
        *SETTLES,
        settle(0, 0, 1, 2),
        says="expected an array of 1 to 256 ranges, two integers each, got major type 4, length 3",
    ),
    broken(
        "51j",
        "settles 257 ranges",
        *SETTLES,
        settle(0, *[0, 1] * 257),
        says="expected an array of 1 to 256 ranges, two integers each, got major type 4, length 514",
    ),
    broken(
        "51k",
        "acknowledges values that are settled",
        *SETTLES,
        ack(0, 1, 9, 2**20),
        says="expected values to be settled one by one on this channel, got 1 in an ACK",
    ),
    broken(
        "51l",
        "counts others than the settled values in its last word",
        *SETTLES,
        close(0, 1, FINISHED),
        says="expected the close of channel 0 with 0 values settled, got it with 1",
    ),
    broken(
        "51m",
        "settles where it sends",
        import_(0, "ints", receives=False, settles=True),
        says="expected an importer that receives to settle, got one that sends, on 'ints'",
    ),
    broken(
        "52a", "begins with the second value", *SENDS, data(0, 1, 5), says="expected the value number 0, got number 1"
    ),
    broken(
        "52b",
        "leaves a value out",
        *SENDS,
        data(0, 0, 5),
        data(0, 2, 6),
        says="expected the value number 1, got number 2",
    ),
    broken(
        "53a",
        "sends a value twice",
        *SENDS,
        data(0, 0, 5),
        data(0, 0, 5),
        says="expected the value number 1, got number 0",
    ),
    broken(
        "55a",
        "sends the value number 2^63",
        *SENDS,
        frame_of(b"\x04", b"\x00", uint(2**63), b"\xf4", b"\x42\x81\x00"),
        says=f"expected an integer up to 2^62, got {2**63}",
    ),
    broken(
        "55b",
        "sends the value number 2^62",
        *SENDS,
        data(0, 2**62, 0),
        says=f"expected the value number 0, got number {2**62}",
    ),
    broken(
        "55c",
        "acknowledges 2^62 values",
        *RECEIVES,
        ack(0, 2**62, 2**62, 2**62),
        says=f"expected at most 5 values acknowledged, got {2**62}",
    ),
    broken(
        "55d",
        "counts 2^64-1 values in its last word",
        *RECEIVES,
        frame_of(b"\x07", b"\x00", uint(2**64 - 1), b"\x02", b"\x60"),
        says=f"expected an integer up to 2^62, got {2**64 - 1}",
    ),
]
CHANNEL_CASES: list[Case] = CREDIT + CHANNELS + CLOSES + ACKNOWLEDGEMENT
