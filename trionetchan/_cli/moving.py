"""Values out of a channel and into one, as lines of JSON."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing

import trio

from .._errors import NetchanError, NoSuchChannelError
from .._importer import Importer
from ..observation import observe
from .connecting import Options, connected
from .console import FAILED, NOT_THERE, WRONG_INPUT, Failure, json_line, print_json, write_line
from .values import UNTYPED, Misfit, Values
from .watching import channel_named

__all__ = ["put", "tail"]

WINDOW = 64
READ_SIZE = 2**16
MAX_LINE = 2**28  # bytes: more than a value may have, unless an exporter's limits were changed


async def _values_of(importer: Importer, name: str, direction: str) -> Values:
    """What the exporter says of the channel's type. One that says nothing may have it: then values tell their kinds."""
    try:
        observation = await observe(importer)
    except NoSuchChannelError:
        return Values()
    channel = channel_named(observation, name)
    if channel.direction != direction:
        way, command = ("sends into", "tail") if channel.direction == "send" else ("receives from", "put")
        raise Failure(f"{name}: the exporter {way} this channel: see `trionetchan {command}`", NOT_THERE)
    return Values(UNTYPED if channel.type is None else observation.types[channel.type])


# Out


async def tail(address: str, name: str, options: Options, count: int | None) -> int:
    """Each value is acknowledged once it is written, so whatever ends this, what was not written goes to others."""
    async with connected(address, options, resume=0) as importer:
        values = await _values_of(importer, name, "send")
        window = WINDOW if count is None else max(1, min(count, WINDOW))
        channel = await importer.open_receive_channel(name, window=window, count=count, acknowledge="manual")
        number = 0
        async for delivery in channel:
            number += 1
            data = values.write(delivery.value)
            entry = {"number": number, "redelivered": delivery.redelivered, "value": data}
            await write_line(json_line(entry if options.json else data))
            await delivery.ack()
    return 0


# In


async def put(address: str, name: str, options: Options, *, finish: bool, source: int = 0) -> int:
    """Sends each line of the standard input (or another file descriptor); returns when all is acknowledged."""
    sent = 0
    async with connected(address, options) as importer:
        values = await _values_of(importer, name, "receive")
        channel = await importer.open_send_channel(name)
        try:
            async with aclosing(_lines(source)) as lines:
                async for number, line in lines:
                    await channel.send(_value(values, number, line))
                    sent += 1
        except trio.BrokenResourceError:
            raise Failure(f"{name}: {await _why(importer)}", FAILED) from None
        except Failure:
            await _all_arrived(importer, name)
            raise
        await _all_arrived(importer, name)
        if finish or await _others_send(importer, name):
            channel.close()
    if options.json:
        print_json({"sent": sent})
    return 0


async def _all_arrived(importer: Importer, name: str) -> None:
    """What was sent is on its way; an error of the exporter's is told when the block is left, or here."""
    try:
        await importer.drain(name)
    except NetchanError:
        raise Failure(f"{name}: {await _why(importer)}", FAILED) from None


def _value(values: Values, number: int, line: bytes) -> object:
    try:
        return values.value(line.decode())
    except UnicodeDecodeError:
        raise Failure(f"line {number}: expected UTF-8, got other bytes", WRONG_INPUT) from None
    except Misfit as error:
        raise Failure(f"line {number}: {error}", WRONG_INPUT) from None


async def _why(importer: Importer) -> str:
    """Why the exporter takes no more."""
    with trio.move_on_after(1):
        return str(await importer.errors.receive())
    return "the exporter takes no more values"


async def _others_send(importer: Importer, name: str) -> bool:
    """Whether others send into the channel, so that it does not end when this one has finished."""
    try:
        channel = channel_named(await observe(importer), name)
    except (NoSuchChannelError, Failure):
        return False
    return len(channel.importers) > 1


async def _lines(source: int) -> AsyncGenerator[tuple[int, bytes]]:
    """The lines of a file descriptor, with their numbers; those that are empty are left out.

    A thread that waits for it cannot be interrupted, and must not hold Python's lock on it.
    """
    number, size, parts = 0, 0, list[bytes]()
    while chunk := await trio.to_thread.run_sync(os.read, source, READ_SIZE, abandon_on_cancel=True):
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            number += 1
            line = b"".join([*parts, end])
            size, parts = 0, []
            if line.strip():
                yield number, line
        size += len(rest)
        parts.append(rest)
        if size > MAX_LINE:
            raise Failure(f"line {number + 1}: expected at most {MAX_LINE} bytes, got more", WRONG_INPUT)
    line = b"".join(parts)
    if line.strip():
        yield number + 1, line
