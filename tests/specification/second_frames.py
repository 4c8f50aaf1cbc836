"""Heads of items, and the frames of the wire protocol, version 1: the part of second_reader that a proxy needs."""

import re
from collections.abc import Iterator


class ReadError(ValueError):
    """Bytes that the page does not allow."""


class FrameError(ReadError):
    """Bytes that break the protocol."""


# --- Heads of items: what frames, schemas and values have in common ---


class Cursor:
    """Reads bytes from the front."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise ReadError("the bytes end too early")
        self.at += size
        return self.data[self.at - size : self.at]

    def head(self) -> tuple[int, int, int]:
        """Major type, additional information, argument; of any length, but never indefinite [F-2, F-3, V-4]."""
        first = self.take(1)[0]
        major, information = first >> 5, first & 31
        if information < 24:
            return major, information, information
        if information > 27:
            raise ReadError("an indefinite length, or additional information that means nothing")
        return major, information, int.from_bytes(self.take(1 << (information - 24)), "big")

    def sized(self, major: int) -> int:
        """The argument of a head that must be of this major type."""
        found, _, argument = self.head()
        if found != major:
            raise ReadError(f"major type {found} instead of {major}")
        return argument

    def count(self, argument: int, each: int = 1) -> int:
        """A number of items, checked against the bytes that are left before anything is kept for them."""
        if argument * each > len(self.data) - self.at:
            raise ReadError("more items than bytes")
        return argument * each

    def end(self) -> None:
        if self.at != len(self.data):
            raise ReadError("bytes behind the end")


def utf8(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ReadError("invalid UTF-8") from None


# --- Frames ---

HELLO, IMPORT, ACCEPT, REJECT, DATA, ACK, SETTLE, CLOSE, PING, PONG, GOODBYE = range(11)
RESUME, RESUMED, POSITION, SEEN, REDELIVERED = 11, 12, 13, 14, 15
FRAMES = {
    HELLO: "uint parameters",
    IMPORT: "uint name flag window count bytes flag?",
    ACCEPT: "uint window bytes",
    REJECT: "uint code text",
    DATA: "uint uint flag bytes",
    ACK: "uint uint uint uint",
    SETTLE: "uint ranges outcome",
    CLOSE: "uint uint code text",
    PING: "uint",
    PONG: "uint",
    GOODBYE: "code text",
    RESUME: "16_bytes uint 32_bytes uint uint",
    RESUMED: "32_bytes uint uint",
    POSITION: "uint uint",
    SEEN: "uint",
    REDELIVERED: "uint uint uint",
}
LARGEST_UINT = 2**62
LARGEST_CODE = 15
LEAST = {"frame": 65_536, "value": 1, "buffer": 1, "keepalive": 0, "resume": 0, "settle": 0, "restart": 0}
LENGTHS = {"nonce": (16, 16), "session": (16, 16), "secret": (32, 32), "token": (1, 1024)}
NOT_IN_NAMES = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
MAGIC = b"\xd9\xd9\xf7"
Parameters = dict[str, int | bytes]
Field = None | bool | int | str | bytes | Parameters | list[int]


class FrameReader(Cursor):
    """Reads the fields of a frame."""

    def uint(self) -> int:
        number = self.sized(0)
        if number > LARGEST_UINT:
            raise ReadError("an integer above 2^62")
        return number

    def text(self) -> str:
        return utf8(self.take(self.sized(3)))

    def field(self, form: str) -> Field:
        """A field of this form; the words are those of FRAMES."""
        if form == "bytes":
            return self.take(self.sized(2))
        if form.endswith("_bytes"):
            size = int(form.removesuffix("_bytes"))
            return self.sized_bytes(size, size)
        if form == "text":
            return self.text()
        if form == "name":
            return self.name()
        if form == "parameters":
            return self.parameters()
        if form == "ranges":
            return self.ranges()
        if form in ("flag", "flag?"):
            byte = self.take(1)
            if byte not in (b"\xf4", b"\xf5"):
                raise ReadError("no flag")
            return byte == b"\xf5"
        if form == "count" and self.data[self.at : self.at + 1] == b"\xf6":
            self.at += 1
            return None
        number = self.uint()
        if number > {"code": LARGEST_CODE, "outcome": 1}.get(form, number) or (form == "window" and number < 1):
            raise ReadError(f"{number} is no {form}")
        return number

    def sized_bytes(self, least: int, most: int) -> bytes:
        """A byte string of so many bytes."""
        size = self.sized(2)
        if not least <= size <= most:
            raise ReadError(f"no byte string of {least} to {most} bytes")
        return self.take(size)

    def name(self) -> str:
        size = self.sized(3)
        if not 1 <= size <= 255:
            raise ReadError("a name that has not 1 to 255 bytes")
        name = utf8(self.take(size))
        if NOT_IN_NAMES.search(name):
            raise ReadError("a control character in a name")
        return name

    def ranges(self) -> list[int]:
        """Of values [M-3]."""
        size = self.sized(4)
        if size % 2 or not 2 <= size <= 512:
            raise ReadError("not 1 to 256 ranges")
        return [self.uint() for _ in range(size)]

    def parameters(self) -> Parameters:
        """Those that are known [H-3, H-4, H-5]."""
        count, names, known = self.sized(5), set[str](), Parameters()
        if count > 64:
            raise ReadError("more than 64 parameters")
        for _ in range(count):
            name = self.text()
            if name in names:
                raise ReadError("a parameter twice")
            names.add(name)
            if name in LEAST:
                number = known[name] = self.uint()
                if number < LEAST[name]:
                    raise ReadError(f"{name} is below its least")
            elif name in LENGTHS:
                known[name] = self.sized_bytes(*LENGTHS[name])
            else:
                self.skip()
        return known

    def skip(self, depth: int = 1) -> None:
        """One item that is ignored [F-7]."""
        if depth > 8:
            raise ReadError("an item that is nested too deep")
        major, information, argument = self.head()
        if major in (2, 3):
            self.take(argument)
        elif major == 7 and information == 24 and argument < 32:
            raise ReadError("a simple value that CBOR does not have")
        elif 4 <= major <= 6:
            for _ in range(1 if major == 6 else self.count(argument, major - 3)):
                self.skip(depth + 1)


def read_frame(body: bytes) -> tuple[int, tuple[Field, ...]]:
    """Kind and fields of the content of a frame's byte string, or FrameError."""
    reader = FrameReader(body)
    try:
        count = reader.sized(4)
        if count < 1:
            raise ReadError("an empty frame")
        kind = reader.uint()
        if kind not in FRAMES:
            raise ReadError("an unknown kind")
        forms = FRAMES[kind].split()
        absent = max(0, 1 + len(forms) - count)
        if any(not form.endswith("?") for form in forms[len(forms) - absent :]):
            raise ReadError("too few fields")
        fields = tuple([reader.field(form) for form in forms[: len(forms) - absent]])
        for _ in range(reader.count(max(0, count - 1 - len(forms)))):
            reader.skip()
        if forms[-1].endswith("?") and fields[-1] is False:  # what its absence means
            fields = fields[:-1]
        reader.end()
    except ReadError as error:
        raise FrameError(str(error)) from None
    return kind, fields


class FrameCutter:
    """Cuts what arrives, in chunks of any size, into the contents of frames."""

    def __init__(self, largest: int = 65_536) -> None:
        self.largest = largest
        self.rest = b""
        self.began = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The frames that are whole now; FrameError when it comes to what is none."""
        self.rest += chunk
        if not self.began:
            if not MAGIC.startswith(self.rest[:3]):
                raise FrameError("a stream that does not begin with d9 d9 f7")
            if len(self.rest) < 3:
                return
            self.rest, self.began = self.rest[3:], True
        while (body := self.cut()) is not None:
            yield body

    def cut(self) -> bytes | None:
        if not self.rest:
            return None
        major, information = self.rest[0] >> 5, self.rest[0] & 31
        if major != 2 or information > 27:
            raise FrameError("no byte string of definite length")
        more = 0 if information < 24 else 1 << (information - 24)
        if len(self.rest) < 1 + more:
            return None
        size = int.from_bytes(self.rest[1 : 1 + more], "big") if more else information
        if not 1 <= size <= self.largest:
            raise FrameError("a frame of no bytes, or a larger one than announced")
        if len(self.rest) < 1 + more + size:
            return None
        body, self.rest = self.rest[1 + more : 1 + more + size], self.rest[1 + more + size :]
        return body


def cut_stream(stream: bytes, largest: int = 65_536) -> tuple[list[bytes], bytes]:
    """The contents of the frames of a stream, its first three bytes included, and what is left of an unfinished one."""
    cutter = FrameCutter(largest)
    return list(cutter.feed(stream)), cutter.rest
