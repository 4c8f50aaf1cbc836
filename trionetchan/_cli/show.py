"""What an exporter tells, as text that is safe to show: a terminal obeys what it is sent."""

from __future__ import annotations

import re

__all__ = ["address_text", "count_text", "escaped", "rate_text", "size_text"]


def escaped(text: str) -> str:
    """The text with all that is not printable as JSON writes it: `\\u001b`."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place]:02x}{units[place + 1]:02x}" for place in range(0, len(units), 2))


def address_text(address: str) -> str:
    """A peer's address as people write it."""
    found = re.fullmatch(r"\('([^']*)', (\d+)(?:, \d+, \d+)?\)", address)
    if found is None:
        return escaped(address)
    host = f"[{found[1]}]" if ":" in found[1] else found[1]
    return escaped(f"{host}:{found[2]}")


def count_text(count: int) -> str:
    return f"{count:,}"


def rate_text(rate: float | None) -> str:
    """Values a second."""
    if rate is None:
        return "–"
    return f"{rate:,.0f}" if rate >= 10 or rate == int(rate) else f"{rate:.1f}"


def size_text(size: float) -> str:
    """Bytes."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:,.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError(size)
