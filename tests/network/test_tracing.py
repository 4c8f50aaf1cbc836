"""The trace of frames."""

from __future__ import annotations

import logging

import pytest
import trio
from support import connected

from trionetchan._errors import Code
from trionetchan._network import tracing
from trionetchan._network.tracing import Tracer, tracer_for
from trionetchan._protocol.frames import (
    MAGIC,
    VERSION,
    Ack,
    Close,
    Data,
    FrameCutter,
    Hello,
    Import,
    Ping,
    Resume,
    Resumed,
    encode,
)

WIRE = "trionetchan.wire"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == WIRE]


def test_each_frame_is_named_with_its_channel_and_counts_and_without_values(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, WIRE)
    tracer = tracer_for("exporter", "there")
    assert tracer is not None
    frames = [
        Hello(VERSION, {"frame": 70_000}),
        Import(0, "jobs", True, 64, None, b"\x81\x81\x03"),
        Data(0, 5, False, b"\x81\x66secret"),
        Ack(0, 6, 70, 1000),
        Close(0, 6, Code.HUNG_UP, "line\nbreak"),
        Ping(3),
    ]
    tracer.sent([MAGIC, *map(encode, frames)])
    logged = lines(caplog)
    assert len(logged) == len(frames)
    assert all(line.startswith("exporter, there: sent ") for line in logged)
    assert "channel=0 name='jobs' receives=True window=64 count=None schema=3 bytes" in logged[1]
    assert "channel=0 first=5 more=False payload=8 bytes values=1" in logged[2]
    assert "channel=0 delivered=6 value_limit=70 byte_limit=1000" in logged[3]
    assert "channel=0 count=6" in logged[4]
    assert not any("secret" in line or "\n" in line for line in logged)


def test_frames_in_any_chunks_and_both_directions(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, WIRE)
    tracer = Tracer("exporter", "there")
    tracer.sent([MAGIC])
    for byte in MAGIC + encode(Ping(1)) + encode(Ping(2)):
        tracer.received(bytes([byte]))
    tracer.sent([encode(Ping(3))])
    assert [line.partition("token=")[::2] for line in lines(caplog)] == [
        ("exporter, there: received PING ", "1"),
        ("exporter, there: received PING ", "2"),
        ("exporter, there: sent PING ", "3"),
    ]


def test_what_is_no_frame_is_said_and_raises_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, WIRE)
    Tracer("exporter", "there").received(b"GET / HTTP/1.1\r\n\r\n")
    assert lines(caplog)[0].startswith("exporter, there: received what is no frame: expected ")


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
async def test_a_connection_is_traced_only_where_it_is_on(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    made: list[int] = []

    def counted(size: int) -> FrameCutter:
        made.append(size)
        return FrameCutter(size)

    monkeypatch.setattr(tracing, "FrameCutter", counted)
    caplog.set_level(level, WIRE)
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int)
        receive = await importer.open_receive_channel("jobs", int)
        await send.send(5)
        assert await receive.receive() == 5
    traced = level == logging.DEBUG
    assert bool(made) == traced
    logged = "\n".join(lines(caplog))
    for word in ("HELLO", "IMPORT", "ACCEPT", "DATA", "GOODBYE"):
        assert (word in logged) == traced


def test_no_secret_is_traced(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, WIRE)
    tracer = tracer_for("importer", "x")
    assert tracer is not None
    secret, nonce, session, proof = b"S" * 32, b"N" * 16, b"I" * 16, b"P" * 32
    hello = Hello(1, {"resume": 5, "nonce": nonce, "session": session, "secret": secret})
    tracer.sent([MAGIC, encode(hello), encode(Resume(session, 0, proof, 1, 0)), encode(Resumed(proof, 1, 0))])
    assert "'secret': 32 bytes" in caplog.text
    assert "RESUME session=16 bytes epoch=0 proof=32 bytes" in caplog.text
    assert not any(4 * letter in caplog.text for letter in "SNIP")
