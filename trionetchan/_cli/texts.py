"""What the demo counts: the text files of a directory, cut into bundles of pieces, and the words of a piece."""

from __future__ import annotations

import itertools
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

__all__ = ["Bundle", "Piece", "TextFile", "bundles", "candidates", "count_words", "look_at", "pieces"]

WORD = re.compile(r"\w+")
LEFT_OUT = ("__pycache__", "site-packages", "dist-packages")


@attrs.frozen
class TextFile:
    """A file to be counted: where it is, what to call it, and its size in bytes."""

    path: Path
    name: str
    size: int


@attrs.frozen
class Piece:
    """Text of one file, all of it or a part that was cut between words."""

    file: str
    text: bytes


Bundle = list[Piece]


def candidates(directory: Path, errors: list[OSError]) -> Iterator[Path]:
    """The files below a directory, which may be text or not, in an order that is always the same.

    Left out: what is hidden, `__pycache__` and `site-packages`. Directories that cannot be read go to `errors`.
    """
    for parent, directories, names in os.walk(directory, onerror=errors.append):
        directories[:] = sorted(name for name in directories if name[0] != "." and name not in LEFT_OUT)
        for name in sorted(name for name in names if name[0] != "."):
            yield Path(parent, name)


def look_at(paths: Iterator[Path], limit: int, directory: Path, errors: list[OSError]) -> tuple[int, list[TextFile]]:
    """Looks at the next paths, at most `limit`: how many there were, and which of them are text.

    A file is text if it is a regular file without a NUL byte near its beginning. What cannot be read goes to `errors`.
    """
    files: list[TextFile] = []
    looked_at = 0
    for path in itertools.islice(paths, limit):
        looked_at += 1
        try:
            status = path.stat()
            if stat.S_ISREG(status.st_mode) and _is_text(path):
                # A name need not be UTF-8 either, and text on the network must be.
                name = os.fsencode(path.relative_to(directory)).decode(errors="replace")
                files.append(TextFile(path, name, status.st_size))
        except OSError as error:
            errors.append(error)
    return looked_at, files


def _is_text(path: Path) -> bool:
    with path.open("rb") as file:
        return b"\0" not in file.read(1024)


def bundles(files: Sequence[TextFile], size: int, left_out: list[str]) -> Iterator[Bundle]:
    """The text of the files in bundles of at most `size` bytes. Which files cannot be read, and why: `left_out`.

    Many small files make one bundle: sending and taking a value costs the same for one word as for thousands.
    """
    bundle: Bundle = []
    room = size
    for file in files:
        try:
            for text in pieces(file.path, size):
                if len(text) > room:
                    yield bundle
                    bundle, room = [], size
                bundle.append(Piece(file.name, text))
                room -= len(text)
        except OSError as error:
            left_out.append(f"{file.name} left out: {error.strerror}")
    if bundle:
        yield bundle


def pieces(path: Path, size: int) -> Iterator[bytes]:
    """The text of a file in pieces of at most `size` bytes, cut between words. `OSError` if it cannot be read."""
    with path.open("rb") as file:
        rest = b""
        while block := file.read(size - len(rest)):
            rest += block
            if len(rest) == size:
                cut = max(rest.rfind(b" "), rest.rfind(b"\n")) + 1 or size
                yield rest[:cut]
                rest = rest[cut:]
        if rest:
            yield rest


def count_words(text: bytes) -> int:
    """How many words there are. What is not UTF-8 counts as no letter."""
    return len(WORD.findall(text.decode(errors="replace")))
