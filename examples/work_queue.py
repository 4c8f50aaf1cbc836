"""A work queue whose workers may be killed at any time: the SHA-256 of many files, computed by any number of processes.

    python work_queue.py serve PORT FILE...    deals the files to workers, and ends when all are done
    python work_queue.py work HOST PORT        a worker; start as many as you like, on any machine that has the files

Kill a worker with `kill -9`: what it had not finished goes to another one. Ctrl-C ends each of them.
"""

from __future__ import annotations

import functools
import hashlib
import signal
import sys
from collections.abc import Awaitable, Callable

import attrs
import trio

from trionetchan import ConnectionLostError, Limits, open_exporter, open_tcp_importer

# How long a worker that fell silent is waited for before its file goes to another: the smaller of both sides' counts.
LIMITS = Limits(resume_timeout=1)


@attrs.frozen
class Digest:
    """What came of one file: its SHA-256 in hexadecimal digits, or why there is none."""

    file: str
    sha256: str | None
    error: str | None = None


def digest_of(file: str) -> Digest:
    """The work; put yours in its place."""
    try:
        with open(file, "rb") as opened:
            return Digest(file, hashlib.file_digest(opened, "sha256").hexdigest())
    except OSError as error:  # a result, too: an exception would end the worker, and the next one, and the next
        return Digest(file, None, error.strerror)


async def serve(port: int, files: list[str]) -> None:
    """Deals the files, and prints what comes back."""
    done: set[str] = set()
    dead_letters, killers = trio.open_memory_channel[str](len(files))
    async with trio.open_nursery() as nursery, open_exporter(limits=LIMITS) as exporter:
        # importers=None: workers come and go, so no number of them that have finished is the end of the results.
        results = exporter.open_receive_channel("results", Digest, importers=None)
        nursery.start_soon(show, results, done)
        [listener] = await nursery.start(exporter.serve_tcp, port)
        print(f"{len(files)} files for workers at port {listener.port}", file=sys.stderr, flush=True)
        # A file that loses its workers again and again (it may be what kills them) is put aside, not tried for ever.
        async with exporter.open_send_channel("files", str, dead_letters=dead_letters) as jobs:
            for file in files:
                await jobs.send(file)
        await exporter.drain("files")  # each is done, or put aside
        exporter.hangup("results")  # there are no more: each worker has waited for its result to arrive
    async with killers:
        async for file in killers:
            print(f"{file}: given up, its workers were lost", file=sys.stderr)


async def show(results: trio.MemoryReceiveChannel[Digest], done: set[str]) -> None:
    """Prints each result once: a worker that was killed between its result and its `ack` left the file to another."""
    async for result in results:
        if result.file not in done:
            done.add(result.file)
            print(f"{result.sha256 or result.error}  {result.file}", flush=True)


async def work(host: str, port: int) -> None:
    """Takes files until there are no more."""
    async with open_tcp_importer(host, port, limits=LIMITS) as importer:
        results = await importer.open_send_channel("results", Digest)
        # window=1: a worker has the file that it is at and no other, so that none waits behind a slow one.
        jobs = await importer.open_receive_channel("files", str, window=1, acknowledge="manual")
        async with results:
            async for job in jobs:
                print(f"at {job.value}", file=sys.stderr, flush=True)
                # In a thread: while it computes, this side goes on to say that it lives.
                result = await trio.to_thread.run_sync(digest_of, job.value, abandon_on_cancel=True)
                await results.send(result)
                await importer.drain("results")  # the result has arrived …
                await job.ack()  # … so the file is done; if this process dies before this line, another one does it


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
        case ["serve", port, *files] if files:
            trio.run(until_signal, functools.partial(serve, int(port), [*dict.fromkeys(files)]))
        case ["work", host, port]:
            why = ""
            try:
                trio.run(until_signal, functools.partial(work, host, int(port)))
            except* (ConnectionLostError, OSError) as group:
                why = str(group.exceptions[0])
            sys.exit(why or 0)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
