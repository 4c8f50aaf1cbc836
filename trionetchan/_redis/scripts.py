"""The scripts that the engine runs: each is one atomic step on the keys of one channel. They stand in `lua/`."""

from __future__ import annotations

import functools
from importlib import resources

__all__ = ["NAMES", "source"]

NAMES = ("look", "register", "append", "exchange", "give_back", "leave", "hang_up", "watch")


@functools.cache
def source(name: str) -> str:
    """The text of a script: its own flags, what all share, and itself."""
    folder = resources.files("trionetchan._redis") / "lua"
    flags, _, body = (folder / f"{name}.lua").read_text(encoding="utf-8").partition("\n")
    return f"{flags}\n{(folder / 'common.lua').read_text(encoding='utf-8')}\n{body}"
