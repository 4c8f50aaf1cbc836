"""One CBOR item out of bytes from anybody, read strictly. Schemas and values are both read here.

Decisions:

- Refused: every tag that the caller does not name, indefinite lengths, a key twice, more depth than the caller allows,
  and bytes behind the item.
- Map keys other than text and bytes are refused: a peer could choose them so that they collide. Python's hashes of text
  and bytes are randomized. So a set arrives as a `ReceivedSet`, and a dict with other keys as a `ReceivedMap`; whoever
  has checked what is in them builds the set or dict.
- Making a cbor2 decoder costs as much as reading a small value: so a few are kept for the next payload. A kept decoder
  keeps its last payload alive; large payloads therefore get a decoder of their own.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import cbor2

__all__ = ["Reader", "ReceivedMap", "ReceivedSet", "TagReader", "require"]

_Decoder = tuple[io.BytesIO, cbor2.CBORDecoder]  # and the stream that it reads from
TagReader = Callable[[Any, bool], Any]  # cbor2 calls it with the content of a tag, and whether it must be hashable

# cbor2 decodes these tags by itself unless told otherwise; all others it leaves to `tag_hook`. 2 and 3, large integers,
# are left to it.
_KNOWN_TAGS = (0, 1, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)
_MAX_KEPT_SIZE = 4096  # bytes of a payload that a kept decoder may keep alive
_MAX_KEPT = 8  # decoders


class ReceivedSet(list[Any]):
    """A set as it arrives: its elements, not hashed yet."""

    data: Any = None  # what it is compared as within a key, once that is known


class ReceivedMap(list[Any]):
    """A map as it arrives where keys are not only text and bytes: keys and values in turn."""

    data: Any = None  # as of a set


def require(condition: object, complaint: str = "malformed") -> None:
    """`ValueError` with the complaint unless the condition holds."""
    if not condition:
        raise ValueError(complaint)


def _refuse(_content: Any, _immutable: bool) -> Any:
    raise ValueError("a tag that is not allowed here")


def _all_tags(allowed: Mapping[int, TagReader]) -> dict[int, TagReader]:
    return {**dict.fromkeys(_KNOWN_TAGS, _refuse), **allowed}


@attrs.frozen(eq=False)
class Reader:
    """Reads one item at a time, at most `max_depth` items deep, with the given tags and no others."""

    max_depth: int
    tags: Mapping[int, TagReader] = attrs.field(factory=dict[int, TagReader], converter=_all_tags)
    kept: list[_Decoder] = attrs.field(factory=list[_Decoder], init=False)

    def read(self, data: bytes) -> Any:
        """The one item that `data` is. Raises whatever cbor2 or a tag's reader raises."""
        keep = len(data) <= _MAX_KEPT_SIZE
        try:
            stream, decoder = (
                self.kept.pop() if keep else self._new_decoder()
            )  # taken: other threads may be reading too
        except IndexError:
            stream, decoder = self._new_decoder()
        stream.__init__(data)  # type: ignore[misc] # fills it anew; a new stream costs the decoder a look at it
        item = decoder.decode()  # after an error, the decoder is not used again
        if stream.read(1):
            raise ValueError("bytes behind the end")
        if keep and len(self.kept) < _MAX_KEPT:
            self.kept.append((stream, decoder))
        return item

    def _new_decoder(self) -> _Decoder:
        stream = io.BytesIO()
        decoder = cbor2.CBORDecoder(
            stream,
            tag_hook=_refuse,
            semantic_decoders=self.tags,
            max_depth=self.max_depth,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
        return stream, decoder
