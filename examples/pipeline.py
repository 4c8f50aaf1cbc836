"""A pipeline over three processes: words are read, counted, and the most frequent ones printed.

    python pipeline.py read PORT FILE...                  reads lines, and serves them
    python pipeline.py count HOST PORT PORT_OF_ITS_OWN    takes lines, and serves how often each word is in them
    python pipeline.py show HOST PORT                     adds up, and prints at the end

Each stage ends when the one before it has finished and all is passed on; a slow one slows down those before it. If one
dies, the others fail (exit status 1): a total that is printed is complete. Ctrl-C in one ends all of them.
"""

from __future__ import annotations

import functools
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

import trio

from trionetchan import Limits, NetchanError, open_exporter, open_tcp_importer

# What breaks is given up after this many seconds: the smaller number of the two sides counts.
LIMITS = Limits(resume_timeout=2)


async def read(port: int, files: list[str]) -> None:
    """The first stage."""
    async with trio.open_nursery() as nursery, open_exporter(limits=LIMITS) as exporter:
        [listener] = await nursery.start(exporter.serve_tcp, port)
        print(f"lines at port {listener.port}", file=sys.stderr, flush=True)
        lines = exporter.open_send_channel("lines", str)
        for file in files:
            async with await trio.open_file(file, encoding="utf-8", errors="replace") as opened:
                async for line in opened:
                    await lines.send(line)
        await lines.aclose()  # only here: `async with` would close it after an error, too, which looks like the end
        await exporter.drain()  # also if nobody is there yet to take them


async def count(host: str, port: int, own_port: int) -> None:
    """The stage in the middle: an importer of what comes before it, an exporter for what comes after it."""
    async with (
        trio.open_nursery() as nursery,
        open_exporter(limits=LIMITS) as exporter,
        open_tcp_importer(host, port, limits=LIMITS) as importer,
    ):
        [listener] = await nursery.start(exporter.serve_tcp, own_port)
        print(f"counts at port {listener.port}", file=sys.stderr, flush=True)
        lines = await importer.open_receive_channel("lines", str, window=1024)
        # Closed only when all is passed on. `async with` would close it when the stage before is lost, too, and the
        # next one would take what it has for everything; an end that is still open makes it fail.
        counts = exporter.open_send_channel("counts", dict[str, int])
        async for line in lines:
            await counts.send(dict(Counter(line.split())))  # of the very type: a subclass is refused
        await counts.aclose()
        await exporter.drain()


async def show(host: str, port: int) -> None:
    """The last stage."""
    total = Counter[str]()
    async with open_tcp_importer(host, port, limits=LIMITS) as importer:
        async for counts in await importer.open_receive_channel("counts", dict[str, int], window=1024):
            total.update(counts)
    for word, number in total.most_common(10):
        print(f"{number:8,} {word}")
    print(f"{total.total():8,} words")


async def until_signal(run: Callable[[], Awaitable[None]]) -> None:
    """Runs it to its end, or until Ctrl-C or SIGTERM cancels it."""

    async def cancel_on_signal() -> None:
        await anext(signals)
        nursery.cancel_scope.cancel()

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_on_signal)
            await run()
            nursery.cancel_scope.cancel()


def main() -> None:
    match sys.argv[1:]:
        case ["read", port, *files] if files:
            stage = functools.partial(read, int(port), files)
        case ["count", host, port, own_port]:
            stage = functools.partial(count, host, int(port), int(own_port))
        case ["show", host, port]:
            stage = functools.partial(show, host, int(port))
        case _:
            sys.exit(__doc__)
    why = ""
    try:
        trio.run(until_signal, stage)
    except* (NetchanError, OSError) as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        why = f"pipeline: {error}"
    sys.exit(why or 0)


if __name__ == "__main__":
    main()
