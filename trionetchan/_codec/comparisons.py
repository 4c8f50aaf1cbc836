"""Comparisons of types that are remembered: an exporter sees the same few types of importers again and again.

Decisions:

- What is remembered is a fingerprint of the two types, not the types, and what came of them: little, whatever a peer
  sends. It is cryptographic, or a peer could make two pairs of types that are taken for one.
- A peer that comes with ever new types pushes out nothing but what was asked for once: what is asked for again moves to
  a place of its own, and what fits is kept apart from what does not.
- What is forgotten first is what has not been asked for for longest.
"""

from __future__ import annotations

import hashlib

import attrs

from .compare import Difference, examine
from .schema import Schema

__all__ = ["Comparisons"]

_MAX_STORE_SIZE = 256 * 2**10  # bytes; there are four stores
_ENTRY_SIZE = 512  # bytes of an entry, at most, without the texts of a difference

_Found = Difference | None


@attrs.define(eq=False)
class _Store:
    """What came of comparisons by fingerprint; what was asked for last is at the end."""

    found: dict[bytes, _Found] = attrs.field(factory=dict[bytes, _Found])
    size: int = 0

    def add(self, key: bytes, found: _Found) -> None:
        self.found[key] = found
        self.size += _size(found)
        while self.size > _MAX_STORE_SIZE:
            self.take(next(iter(self.found)))

    def take(self, key: bytes) -> _Found:
        found = self.found.pop(key)
        self.size -= _size(found)
        return found


def _size(found: _Found) -> int:
    texts = () if found is None else (found.path, found.sender, found.receiver)
    return _ENTRY_SIZE + sum(4 * len(text) for text in texts)


@attrs.define(eq=False)
class _Memory:
    """Those that fit, or those that do not."""

    once: _Store = attrs.field(factory=_Store)
    again: _Store = attrs.field(factory=_Store)

    def recall(self, key: bytes) -> tuple[_Found] | None:
        """What is remembered, alone in a tuple, since it may be None."""
        store = self.again if key in self.again.found else self.once
        if key not in store.found:
            return None
        found = store.take(key)
        self.again.add(key, found)
        return (found,)


@attrs.define(eq=False)
class Comparisons:
    """Compares types as `difference` does, and remembers what came of it, in 1 MiB at most."""

    _fits: _Memory = attrs.field(factory=_Memory, init=False)
    _differs: _Memory = attrs.field(factory=_Memory, init=False)

    def compare(self, sender: Schema | bytes, receiver: Schema | bytes) -> tuple[Difference | None, int]:
        """The difference, if there is one, and how much work it was: 0 for types that are remembered, else about 1 for
        every 100 steps, and for every 256 bytes of a peer's description."""
        key = _fingerprint(sender, receiver)
        remembered = self._fits.recall(key) or self._differs.recall(key)
        if remembered is not None:
            return remembered[0], 0
        found, work = examine(sender, receiver)
        memory = self._fits if found is None else self._differs
        memory.once.add(key, found)
        return found, work


def _fingerprint(sender: Schema | bytes, receiver: Schema | bytes) -> bytes:
    one, other = (schema if isinstance(schema, bytes) else schema.to_bytes() for schema in (sender, receiver))
    length = len(one).to_bytes(8, "big")
    return hashlib.blake2b(length + one + other, digest_size=32).digest()
