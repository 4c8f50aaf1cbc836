"""Runs the vectors "streams" and "resumes" that are for a reader through second_session and second_resume."""

from typing import cast

import pytest
import second_frames as sf
from second_resume import Resumable
from second_session import Event, Session
from test_second_reader import VECTORS, Vector, vectors


def new_session(role: object) -> Session:
    limits = cast("dict[str, int]", cast("dict[str, object]", VECTORS)["limits"])
    return Session(role == "exporter", limits)


def command(session: Session, step: Vector) -> None:
    do, number, schema = step["do"], cast("int", step.get("channel", 0)), bytes.fromhex(str(step.get("schema", "")))
    code, message = cast("int", step.get("code", 0)), str(step.get("message", ""))
    window, count = cast("int", step.get("window", 0)), cast("int | None", step.get("count"))
    if do == "request":
        settles = bool(step.get("settles"))
        session.do_request(str(step["name"]), bool(step["receives"]), window, count, schema, settles=settles)
    elif do == "accept":
        session.do_accept(number, window, schema)
    elif do == "reject":
        session.do_reject(number, code, message)
    elif do == "send":
        payload = bytes.fromhex(str(step["payload"]))
        session.do_send(number, payload, count or 0, redelivered=bool(step.get("redelivered")))
    elif do == "settle":
        session.do_settle(number, cast("list[int]", step["numbers"]), bool(step["accepted"]))
    elif do == "deliver":
        session.channels[number].settled += count or 0
    elif do == "acknowledge":
        session.do_acknowledge(number)
    elif do == "close":
        session.do_close(number, code, message)
    else:
        assert do == "leave"
        session.leave(code, message)


def last_frame(session: Session) -> tuple[int, tuple[sf.Field, ...]]:
    written = session.taken().removeprefix(sf.MAGIC)
    frames, _ = sf.cut_stream(sf.MAGIC + written)
    return sf.read_frame(frames[-1])


@vectors("streams")
def test_streams(vector: Vector) -> None:
    session = new_session(vector["role"])
    for step in cast("list[Vector]", vector["steps"]):
        if "receive" in step:
            assert session.receive(bytes.fromhex(str(step["receive"]))) == step["events"]
        elif "do" in step:
            command(session, step)
        elif "write" in step:
            assert session.taken().hex() == step["write"]
        elif "goodbye" in step:
            kind, fields = last_frame(session)
            assert (kind, fields[0]) == (sf.GOODBYE, step["goodbye"])
            assert session.left
        else:
            kind, fields = last_frame(session)
            assert [kind, *fields[:2]] == step["answers"]


@vectors("streams")
def test_in_single_bytes(vector: Vector) -> None:
    """Bytes mean the same in whatever chunks they arrive [T-2]."""
    session = new_session(vector["role"])
    for step in cast("list[Vector]", vector["steps"]):
        if "receive" in step:
            got = [event for byte in bytes.fromhex(str(step["receive"])) for event in session.receive(bytes([byte]))]
            assert got == step["events"]
        elif "do" in step:
            command(session, step)
        elif "write" in step:
            assert session.taken().hex() == step["write"]
        else:
            last_frame(session)


def resumable(vector: Vector) -> Resumable:
    limits = cast("dict[str, int]", cast("dict[str, object]", VECTORS)["limits"])
    own = {**limits, "resume": cast("int", vector["resume"])}
    session, secret = (bytes.fromhex(str(vector[name])) for name in ("session", "secret"))
    return Resumable(vector["role"] == "exporter", own, session, secret)


def without_free_messages(events: list[Event], expected: object) -> list[Event]:
    for event, other in zip(events, cast("list[Event]", expected), strict=False):
        if "message" not in other:
            event.pop("message", None)
    return events


@pytest.mark.parametrize("size", [10**6, 1], ids=["whole", "byte by byte"])
@vectors("resumes")
def test_resumes(vector: Vector, size: int) -> None:
    session = resumable(vector)
    for step in cast("list[Vector]", vector["steps"]):
        if "stream" in step:
            session.stream(bytes.fromhex(str(step["stream"])))
        elif "receive" in step:
            data = bytes.fromhex(str(step["receive"]))
            chunks = [data[at : at + size] for at in range(0, len(data), size)]
            events = [event for chunk in chunks for event in session.receive(chunk)]
            assert without_free_messages(events, step["events"]) == step["events"]
        elif "do" in step:
            command(session, step)
        elif "write" in step:
            assert session.taken().hex() == step["write"]
        else:
            kind, fields = last_frame(session)
            assert (kind, fields[0]) == (sf.GOODBYE, step["goodbye"])
            assert session.left
