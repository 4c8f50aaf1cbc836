"""Runs the test vectors of frames and streams, and the grammar, `docs/protocol.cddl`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

import attrs
import cbor2
import pytest
from sides import ResumableSide, Side
from vectors import DOCS, VECTORS, Vector, content, vectors

from trionetchan._batch import Batch
from trionetchan._errors import Code, ProtocolError
from trionetchan._limits import Limits
from trionetchan._protocol.events import Event, Settled
from trionetchan._protocol.frames import MAGIC, Data, Frame, FrameCutter, Goodbye, Reject, Settle, decode, encode
from trionetchan._protocol.resuming import SessionKey
from trionetchan._protocol.session import Role

KINDS = {kind.KIND: kind for kind in Frame.__subclasses__()}
LIMITS = Limits(
    max_frame_size=VECTORS["limits"]["frame"],
    max_value_size=VECTORS["limits"]["value"],
    max_buffered_bytes=VECTORS["limits"]["buffer"],
    keepalive=VECTORS["limits"]["keepalive"] / 1000,
    max_window=VECTORS["limits"]["window"],
    max_channels=VECTORS["limits"]["channels"],
)


def from_json(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    entries = cast("dict[str, Any]", value)
    if entries.keys() == {"hex"}:
        return bytes.fromhex(entries["hex"])
    return {name: from_json(item) for name, item in entries.items()}


def as_json(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def fields_of(frame: Frame) -> list[Any]:
    kind: type[Any] = type(frame)
    values = [getattr(frame, field.name) for field in attrs.fields(kind)]
    if isinstance(frame, Data):
        values[-1] = bytes(frame.payload)
    if isinstance(frame, Settle):
        values[1:] = [list(frame.ranges), int(not frame.accepted)]
    if frame.OPTIONAL and values[-1] == frame.OPTIONAL[-1]:
        del values[-1]
    return [frame.KIND, *values]


def frame_of(vector: Vector) -> Frame:
    number, *fields = map(from_json, vector["fields"])
    kind: type[Any] = KINDS[number]
    if kind is Settle:
        fields[1:] = [tuple(fields[1]), not fields[2]]
    return cast("Frame", kind(*fields))


def test_there_are_vectors_of_every_frame_and_names_are_unique() -> None:
    assert {vector["fields"][0] for vector in VECTORS["frames"]} == set(KINDS)
    groups = {name: group for name, group in VECTORS.items() if name not in ("about", "version", "limits")}
    assert len(groups) == 14
    about = "\n".join(VECTORS["about"])
    for name, group in groups.items():
        names: list[str] = [vector["name"] for vector in group]
        assert len(set(names)) == len(names)
        assert {vector["for"] for vector in group} <= {"reader", "writer", "both", "python"}
        assert f"\n{name}: " in about
    assert {step["do"] for vector in VECTORS["streams"] for step in vector["steps"] if "do" in step} >= {
        "accept",
        "close",
    }


@vectors("frames")
def test_frames_are_written_and_read(vector: Vector) -> None:
    assert encode(frame_of(vector)) == content(vector)
    (frame,) = FrameCutter(2**16).cut(MAGIC + content(vector))
    assert fields_of(frame) == list(map(from_json, vector["fields"]))
    assert cbor2.loads(cbor2.loads(content(vector))) == fields_of(frame)


@vectors("readable")
def test_frames_that_are_read_though_none_writes_them_so(vector: Vector) -> None:
    (frame,) = FrameCutter(2**16).cut(MAGIC + content(vector))
    assert fields_of(frame) == list(map(from_json, vector["fields"]))
    assert encode(frame) != content(vector)


@vectors("malformed")
def test_malformed_frames_are_refused(vector: Vector) -> None:
    with pytest.raises(ProtocolError):
        decode(content(vector))


def command(session: Side, step: Vector) -> None:
    arguments = {name: value for name, value in step.items() if name not in ("do", "channel")}
    if "schema" in arguments:
        arguments["schema"] = bytes.fromhex(arguments["schema"])
    if "code" in arguments:
        arguments["code"] = Code(arguments["code"])
    match step["do"]:
        case "send":
            batch = Batch(padded(step), step["count"], redelivered=step.get("redelivered", False))
            assert session.sender(step["channel"]).fits(len(batch.payload), batch.count)
            session.send(step["channel"], batch)
        case "settle":
            for number in step["numbers"]:
                session.settle(step["channel"], number, accepted=step["accepted"])
            session.acknowledge(step["channel"])
            session.hurry()
        case "deliver":
            session.receiver(step["channel"]).deliver(step["count"])
        case "request" | "leave" as name:
            getattr(session, name)(**arguments)
        case "accept" | "reject" | "acknowledge" | "close" as name:
            getattr(session, name)(step["channel"], **arguments)
            session.hurry()
        case name:
            raise AssertionError(f"no such command: {name}")


def padded(step: Vector) -> bytes:
    return bytes.fromhex(step["payload"]) + bytes(step.get("zeros", 0))


def check_split(session: Side, expected: Vector) -> None:
    """One batch has been written, in frames that the peer takes."""
    frames = list(FrameCutter(expected["frame"]).cut(MAGIC + written_by(session)))
    assert len(frames) > 1
    assert all(isinstance(frame, Data) and frame.channel == expected["channel"] for frame in frames)
    parts = [frame for frame in frames if isinstance(frame, Data)]
    assert {part.first for part in parts} == {expected["first"]}
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]
    assert b"".join(bytes(part.payload) for part in parts) == padded(expected)


def event_of(event: Event) -> Vector:
    kind: type[Any] = type(event)
    found = {field.name: as_json(getattr(event, field.name)) for field in attrs.fields(kind)}
    if kind.__name__ == "Violated":
        del found["message"]
    if isinstance(event, Settled):  # of each batch: its first value's number, and places in it
        found["batches"] = [[batch.first, places] for batch, places in event.batches]
    return {"event": kind.__name__, **found}


def without_free_messages(events: list[Vector], expected: list[Vector]) -> list[Vector]:
    """As they are, but for messages that the vector does not say."""
    for event, vector in zip(events, expected, strict=False):
        if "message" not in vector:
            event.pop("message", None)
    return events


def written_by(session: Side) -> bytes:
    written = b""
    while pieces := session.data_to_send():
        written += b"".join(pieces)
    return written


def side_of(vector: Vector) -> Side:
    role = Role(vector["role"])
    if "session" not in vector:
        return Side(role, LIMITS)
    key = SessionKey(content(vector, "session"), content(vector, "secret"))
    return ResumableSide(role, attrs.evolve(LIMITS, resume_timeout=vector["resume"] / 1000), key)


def run(vector: Vector, size: int) -> None:
    session = side_of(vector)
    for step in vector["steps"]:
        if "stream" in step:
            assert isinstance(session, ResumableSide)
            session.stream(bytes.fromhex(step["stream"]))
        elif "receive" in step:
            data = bytes.fromhex(step["receive"])
            chunks = [data[at : at + size] for at in range(0, len(data), size)]
            events = [event_of(event) for chunk in chunks for event in session.receive_data(chunk)]
            assert without_free_messages(events, step["events"]) == step["events"]
        elif "do" in step:
            command(session, step)
        elif "splits" in step:
            check_split(session, step["splits"])
        elif "write" in step:
            assert written_by(session).hex() == step["write"]
        else:
            frames = list(FrameCutter(2**16).cut(MAGIC + written_by(session)))
            if "answers" in step:
                (frame,) = frames
                assert isinstance(frame, Reject)
                assert [frame.KIND, frame.channel, frame.code] == step["answers"]
            else:
                assert isinstance(frames[-1], Goodbye)
                assert frames[-1].code == step["goodbye"]
                assert session.gone
                assert list(session.receive_data(b"\x43\x82\x08\x01")) == []
    assert written_by(session) == b""


@pytest.mark.parametrize("size", [2**16, 1, 7], ids=["whole", "byte by byte", "in pieces"])
@vectors("streams")
def test_streams_give_these_events_whatever_the_chunks(vector: Vector, size: int) -> None:
    run(vector, size)


@pytest.mark.parametrize("size", [2**16, 1, 7], ids=["whole", "byte by byte", "in pieces"])
@vectors("resumes")
def test_sessions_go_on_over_other_streams_whatever_the_chunks(vector: Vector, size: int) -> None:
    run(vector, size)


def test_the_example_of_the_specification_is_that_of_the_vectors() -> None:
    """Each line of hex in the walk through a session is, in order, what its two sides write."""
    text = (DOCS / "protocol.md").read_text("utf-8")
    example = text.split("## An example session")[1].split("\n## ")[0]
    lines = re.findall(r"^    ([ei]) ((?:[0-9a-f]{2} ?)+)", example, re.MULTILINE)
    said = {side: "".join(line.replace(" ", "") for who, line in lines if who == side) for side in "ei"}
    by_name = {vector["name"]: vector for vector in VECTORS["streams"]}
    for side, name in ("e", "whole-life-exporter"), ("i", "whole-life-importer"):
        steps = by_name[name]["steps"]
        assert said[side] == "".join(step.get("write", "") for step in steps)
        heard = "".join(step.get("receive", "") for step in steps)
        other = said["i" if side == "e" else "e"]
        assert other.startswith(heard)
        assert other.removeprefix(heard) in ("", encode(Goodbye(Code.FINISHED, "")).hex())  # who left does not read it


def test_the_example_of_a_resume_is_that_of_the_vectors() -> None:
    """Each line of hex, in order, is what the two sides write; what is lost is not heard."""
    text = (DOCS / "protocol.md").read_text("utf-8")
    example = text.split("## An example of a resume")[1].split("\n## ")[0]
    lines = re.findall(r"^    ([ei]) ((?:[0-9a-f]{2} ?)+)", example, re.MULTILINE)
    by_name = {vector["name"]: vector for vector in VECTORS["resumes"]}
    for side, name in ("e", "resume-exporter"), ("i", "resume-importer"):
        said = "".join(line.replace(" ", "") for who, line in lines if who == side)
        assert said == "".join(step.get("write", "") for step in by_name[name]["steps"])
        heard = "".join(line.replace(" ", "") for who, line in lines if who != side)
        for step in by_name[name]["steps"]:
            data = bytes.fromhex(step.get("receive", "")).removeprefix(MAGIC)
            for frame in FrameCutter(2**16).cut(MAGIC + data):
                _, found, heard = heard.partition(encode(owned(frame)).hex())
                assert found, (name, frame)


def owned(frame: Frame) -> Frame:
    return attrs.evolve(frame, payload=bytes(frame.payload)) if isinstance(frame, Data) else frame


# The grammar


def grammar() -> Callable[[bytes], bool]:
    """Whether an item fits the grammar of the stream."""
    pycddl: Any = pytest.importorskip("pycddl", reason="pycddl, which checks CDDL, is not installed")
    text = (DOCS / "protocol.cddl").read_text("utf-8")
    assert " / settle /" in text
    # pycddl takes anything for a choice of which one part holds an array of any length; so that part is by itself.
    rest = pycddl.Schema(text.replace(" / settle /", " /"))
    settle = pycddl.Schema(re.sub(r"^frame = .*", "frame = settle", text, flags=re.MULTILINE))

    def fits(item: bytes, schema: Any = None) -> bool:
        if schema is None:
            return fits(item, rest) or fits(item, settle)
        try:
            schema.validate_cbor(item)
        except pycddl.ValidationError:
            return False
        return True

    return fits


def test_frames_fit_the_grammar() -> None:
    fits = grammar()
    for vector in VECTORS["frames"]:
        assert fits(content(vector)), vector["name"]


# What a grammar does not tell: how an item is written, and what is in a text. And what pycddl makes light of.
BEYOND_A_GRAMMAR = (
    "65-parameters",
    "bignum",
    "flag-two-bytes",
    "name-line-separator",
    "name-newline",
    "name-u+",
    "nested-trailing-field",
    "nonce-text",
    "parameter-twice",
    "parameters-array",
    "settle-half-a-range",
    "token-integer",
    "token-text",
    "trailing-bytes",
    "unknown-parameter-twice",
)


def test_malformed_frames_do_not_fit_the_grammar() -> None:
    fits = grammar()
    for vector in VECTORS["malformed"]:
        if not vector["name"].startswith(BEYOND_A_GRAMMAR) and "indefinite" not in vector["name"]:
            assert not fits(cbor2.dumps(content(vector))), vector["name"]


def test_all_that_is_written_and_accepted_in_the_streams_fits_the_grammar() -> None:
    fits = grammar()
    for vector in [*VECTORS["streams"], *VECTORS["resumes"]]:
        for step in vector["steps"]:
            if "write" in step:
                data = bytes.fromhex(step["write"]).removeprefix(MAGIC)
                for frame in FrameCutter(2**16).cut(MAGIC + data):
                    assert fits(encode(owned(frame))), (vector["name"], frame)
