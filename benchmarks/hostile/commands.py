"""How a child process of the runner hears what it is to do, and answers: one line each."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator

import trio

__all__ = ["commands", "say"]


def say(**answer: object) -> None:
    print(json.dumps(answer), flush=True)


async def commands() -> AsyncGenerator[list[str]]:
    """The lines of standard input, in words, until "leave" or the end."""
    text = b""
    async with trio.lowlevel.FdStream(os.dup(0)) as stream:
        async for chunk in stream:
            *lines, text = (text + chunk).split(b"\n")
            for line in lines:
                yield line.decode().split()
                if line == b"leave":
                    return
