"""What a channel is called in the engine.

All keys of a channel have its name as their hash tag, so that a cluster keeps them on one node and a script may touch
them in one step.
"""

from __future__ import annotations

import attrs

__all__ = ["Keys", "inbox", "keys_of"]

_KINDS = ("record", "stream", "members", "about", "produced", "hungry", "waiting", "watching", "back")
_OF_DEAD_LETTERS = ("record", "stream", "hungry")


@attrs.frozen
class Keys:
    """The keys of one channel, in the order in which scripts know them."""

    name: str
    """For people."""
    routing: bytes
    """The first of them, by which a cluster finds the node."""
    all: tuple[bytes, ...] = attrs.field(repr=False)
    """With those of the channel's dead letters that a script needs."""
    dead_letters: Keys | None = None


def keys_of(namespace: str, name: str) -> Keys:
    """The keys of a channel, and of its dead letters."""
    start = f"{namespace}:{{{_tag(name)}}}:"
    dead = [f"{start}dead:{kind}".encode() for kind in _KINDS]
    needed = [f"{start}dead:{kind}".encode() for kind in _OF_DEAD_LETTERS]
    own = [f"{start}{kind}".encode() for kind in _KINDS]
    letters = Keys(f"{name} (dead letters)", dead[0], (*dead, *needed))
    return Keys(name, own[0], (*own, *needed), letters)


def inbox(namespace: str, endpoint: str) -> bytes:
    """The channel of the engine, of its own publish and subscribe, on which an exporter or importer is woken."""
    return f"{namespace}:inbox:{endpoint}".encode()


def _tag(name: str) -> str:
    """A hash tag ends at the first brace."""
    return name.replace("%", "%25").replace("{", "%7b").replace("}", "%7d")
