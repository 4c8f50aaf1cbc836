"""The targets, by name."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from .building import made_batch, made_frames, made_schema, one_of_each
from .frames_target import frames
from .mutation import mutated
from .probes import probes
from .schema_target import schema
from .session_target import SCENARIOS, session
from .types_carried import CODECS, batches
from .values_target import values

__all__ = ["NAMES", "TARGETS", "examples", "made", "made_wrong"]

TARGETS: dict[str, Callable[[bytes], None]] = {
    "frames": frames,
    "session": session,
    "schema": schema,
    "values": values,
}
NAMES = [*TARGETS]
_MAKERS: dict[str, tuple[int, Callable[[Random], bytes]]] = {  # choices of the first byte, and what makes the rest
    "frames": (0, made_frames),
    "session": (len(SCENARIOS), made_frames),
    "schema": (0, made_schema),
    "values": (len(CODECS), made_batch),
}


def made(name: str, random: Random) -> bytes:
    """An input for a target, of which much is right."""
    choices, make = _MAKERS[name]
    if name == "values" and random.random() < 0.7:
        number, batch = random.choice(batches())
        return bytes([number]) + batch
    if name == "schema" and random.random() < 0.3:
        return random.choice(CODECS).schema.to_bytes()
    return (bytes([random.randrange(choices)]) if choices else b"") + make(random)


def examples(name: str) -> list[bytes]:
    """What is right, of each sort: as bytes in the corpus, it stays what it was if the package changes."""
    if name == "values":
        return [bytes([number]) + batch for number, batch in batches() if len(batch) < 100]
    if name == "schema":
        return [codec.schema.to_bytes() for codec in CODECS]
    return probes() if name == "session" else one_of_each()


def made_wrong(name: str, random: Random, data: bytes) -> bytes:
    """An input with a few changes; its first byte is changed seldom, where it chooses."""
    choices, _ = _MAKERS[name]
    if not choices:
        return mutated(random, data)
    first = bytes([random.randrange(choices)]) if random.random() < 0.05 or not data else data[:1]
    return first + mutated(random, data[1:])
