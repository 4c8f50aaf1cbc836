"""The demo: worker processes count the words of text files. How a program uses this library.

One process exports "jobs" and "results". Each worker process imports both: all of them compete for the jobs, and all of
their results arrive in one place. Three things make it a work queue that survives its workers:

- A worker takes its jobs with a small window, so that it never sits on many that another one could do; a job is large
  enough that counting takes much longer than sending it.
- A worker acknowledges a job by itself, when its result has arrived. What it has not acknowledged when it dies comes
  back, the job in its hands too, and goes to another.
- So the same job may be done twice, and each result says of which job it is; only the first one counts.

With `--tls` both sides show certificates: workers know that they work for this demo, and nobody else gets its jobs.
With an engine nothing else changes: the exporter and the importers are opened on it.

(In a program of your own the import below reads `from trionetchan import open_exporter, open_tcp_importer`.)
"""

from __future__ import annotations

import functools
import itertools
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from .._exporter import Exporter, open_exporter
from .._importer import Delivery, Importer, open_tcp_importer
from .._limits import Limits
from .._policies import allow_certificates, name_patterns
from .._statistics import Direction
from .certificates import EXPORTER, WORKER, Certificates
from .texts import Bundle, Piece, TextFile, bundles, candidates, count_words, look_at

if TYPE_CHECKING:
    from ..redis import RedisExporter, RedisImporter

__all__ = [
    "Count",
    "DemoError",
    "Display",
    "Job",
    "Outcome",
    "Result",
    "Share",
    "count_with_workers",
    "difference",
    "find_files",
    "run",
    "run_worker",
    "work",
]

LARGEST_JOB = 256 * 2**10  # bytes of text: some milliseconds of counting
SMALLEST_JOB = 4 * 2**10
JOBS_PER_WORKER = 16  # at least, if there is text enough: so that no worker has a job long after the others are idle
JOBS_AHEAD = 4  # that a worker has: of some the results are on their way, and one is there when another is done
FILES_AT_ONCE = 256
LEASE = 3.0  # seconds after which an engine gives a killed worker's jobs to others
WORKER_COMMAND = (sys.executable, "-m", "trionetchan", "demo-worker")


class DemoError(Exception):
    """The demo cannot go on; the message is for its user."""


# What goes over the network


@attrs.frozen(kw_only=True)
class Job:
    """Pieces of text files, whose words are to be counted."""

    number: int
    pieces: list[Piece]

    @property
    def size(self) -> int:
        """Bytes of text."""
        return sum(len(piece.text) for piece in self.pieces)


@attrs.frozen(kw_only=True)
class Result:
    """How many words the pieces of one job have, by file, and the process id of the worker that counted them."""

    job: int
    worker: int
    words: dict[str, int]


# The worker


async def run_worker(place: str, namespace: str = "", certificates: Certificates | None = None) -> None:
    """Connects to the demo at this port of the loopback interface, or on this engine, and works until it has no more
    jobs."""
    if namespace:
        from ..redis import open_redis_importer

        async with open_redis_importer(place, namespace=namespace, lease=LEASE) as importer:
            await work(importer)
        return
    context = None if certificates is None else certificates.for_worker()
    # A worker that is killed does not come back: the others get its jobs at once.
    limits = Limits(resume_timeout=0)
    async with open_tcp_importer(
        "127.0.0.1", int(place), ssl_context=context, server_hostname=EXPORTER, limits=limits
    ) as importer:
        await work(importer)


async def work(importer: Importer | RedisImporter) -> None:
    """Takes jobs and sends results until there are no more jobs.

    A job is acknowledged when its result has arrived: until then the exporter keeps it, for another worker.
    """
    results = await importer.open_send_channel("results", Result)
    jobs = await importer.open_receive_channel("jobs", Job, window=JOBS_AHEAD, acknowledge="manual")
    async with results, trio.open_nursery() as nursery:
        async for job in jobs:
            words = _count(job.value.pieces)
            await results.send(Result(job=job.value.number, worker=os.getpid(), words=words))
            nursery.start_soon(_acknowledge, job, importer)


async def _acknowledge(job: Delivery[Job], importer: Importer | RedisImporter) -> None:
    await importer.drain("results")
    await job.ack()


def _count(pieces: Bundle) -> dict[str, int]:
    words: dict[str, int] = {}
    for piece in pieces:
        words[piece.file] = words.get(piece.file, 0) + count_words(piece.text)
    return words


# The process that deals jobs and collects results


class Display(Protocol):
    """Where the demo shows what it does."""

    def say(self, text: str) -> None:
        """One line."""

    def begin(self, what: str, total: int | None) -> None:
        """A stretch of work begins: so many bytes of text, or (None) files, nobody knows how many."""

    def advance(self, count: int) -> None:
        """So many of them are done."""


@attrs.define
class Share:
    """What one worker has done."""

    files: set[str] = attrs.field(factory=set[str])
    jobs: int = 0
    words: int = 0
    size: int = 0
    """Bytes of text."""


@attrs.define(eq=False)
class Count:
    """The count: the results so far, and the jobs that have none yet."""

    display: Display
    words: Counter[str] = attrs.field(factory=Counter[str])
    """How many words each file has, by name."""
    shares: dict[int, Share] = attrs.field(factory=dict[int, Share])
    """What each worker, by process id, has done."""
    seconds: float = 0.0
    """From the first job that a worker was there for to the last result."""
    lost: int = 0
    """Workers that are gone."""
    complete: bool = False
    """Each job has its result."""
    _open: dict[int, Job] = attrs.field(factory=dict[int, Job])
    _began: float | None = None

    async def issue(
        self, exporter: Exporter | RedisExporter, jobs: trio.MemorySendChannel[Job], texts: Iterator[Bundle]
    ) -> None:
        """Sends a job for each bundle of text, closes `jobs`, and returns when all have their results."""
        async with jobs:
            for number in itertools.count():
                bundle = await _next(texts)
                if bundle is None:
                    break
                job = self._open[number] = Job(number=number, pieces=bundle)
                await jobs.send(job)
                if self._began is None:
                    self._began = trio.current_time()
        await exporter.drain("jobs")  # a worker acknowledges a job when its result has arrived here
        self.complete = True
        redelivered = exporter.statistics().channels["jobs"].redelivered
        if redelivered:
            self.display.say(f"{_number(redelivered, 'job')} of workers that are gone went to others")

    async def collect(self, results: trio.MemoryReceiveChannel[Result]) -> None:
        """Adds up the results, until their channel ends."""
        async for result in results:
            job = self._open.pop(result.job, None)
            if job is None:
                continue  # done twice: a worker was killed between its result and its acknowledgement
            self.words.update(result.words)
            share = self.shares.setdefault(result.worker, Share())
            share.files.update(result.words)
            share.jobs += 1
            share.words += sum(result.words.values())
            share.size += job.size
            if self._began is not None:
                self.seconds = trio.current_time() - self._began
            self.display.advance(job.size)

    def worker_lost(self) -> None:
        """A worker is gone, perhaps with jobs in its hands."""
        self.lost += 1


async def _next(texts: Iterator[Bundle]) -> Bundle | None:
    """The next bundle, read in a thread: a disk may be slow, and the event loop has workers to serve meanwhile."""
    return await trio.to_thread.run_sync(next, texts, None, abandon_on_cancel=True)


async def count_with_workers(
    files: Sequence[TextFile],
    workers: int,
    display: Display,
    *,
    certificates: Certificates | None = None,
    engine: str | None = None,
) -> Count:
    """Counts the words of the files with so many worker processes. `DemoError` if no worker is left."""
    count = Count(display)
    try:
        async with AsyncExitStack() as stack:
            if engine is None:
                await _count_over_tcp(files, workers, count, certificates)
            else:
                await _count_on_engine(engine, stack, files, workers, count)
    except* DemoError as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        failure = error
    else:
        return count
    raise failure


def _open_exporter(limits: Limits, certificates: Certificates | None) -> AbstractAsyncContextManager[Exporter]:
    if certificates is None:
        return open_exporter(limits=limits)
    return open_exporter(
        authenticate=allow_certificates(WORKER),
        authorize=name_patterns({WORKER: {"jobs": Direction.SEND, "results": Direction.RECEIVE}}),
        limits=limits,
    )


async def _count_over_tcp(
    files: Sequence[TextFile], workers: int, count: Count, certificates: Certificates | None
) -> None:
    context = None if certificates is None else certificates.for_exporter()
    # However many workers die with a job in their hands, it goes to the next.
    async with (
        _open_exporter(Limits(max_redeliveries=workers), certificates) as exporter,
        trio.open_nursery() as nursery,
    ):
        (listener,) = await nursery.start(functools.partial(exporter.serve_tcp, 0, ssl_context=context))
        place, where = [str(listener.port)], f"at port {listener.port}"
        if certificates is not None:
            place, where = [*place, "--tls", str(certificates.directory)], f"{where}, over mutual TLS"
        await _count_with_workers(exporter, place, where, files, workers, count)
        nursery.cancel_scope.cancel()


async def _count_on_engine(
    engine: str, stack: AsyncExitStack, files: Sequence[TextFile], workers: int, count: Count
) -> None:
    namespace = f"trionetchan-demo-{os.getpid()}"
    try:
        from ..redis import open_redis_exporter

        opening = open_redis_exporter(engine, namespace=namespace, lease=LEASE, limits=Limits(max_redeliveries=workers))
        exporter = await stack.enter_async_context(opening)
    except (ImportError, OSError, ValueError) as error:
        raise DemoError(str(error)) from None
    await _count_with_workers(exporter, [engine, namespace], f"on {engine}", files, workers, count)
    exporter.hangup("jobs")  # so that nothing of the demo is left in the engine


async def _count_with_workers(
    exporter: Exporter | RedisExporter,
    place: Sequence[str],
    where: str,
    files: Sequence[TextFile],
    workers: int,
    count: Count,
) -> None:
    jobs = exporter.open_send_channel("jobs", Job)
    # importers=None: a worker that is killed never finishes its results, so their end must not wait for it.
    results = exporter.open_receive_channel("results", Result, importers=None)
    await exporter.sync()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count.collect, results)
        left_out: list[str] = []
        async with trio.open_nursery() as staff:
            employ = functools.partial(_employ, count, workers, place)
            processes: list[trio.Process] = [await staff.start(employ) for _ in range(workers)]
            pids = ", ".join(str(process.pid) for process in processes)
            count.display.say(f"{_number(workers, 'worker')} {where}: process {pids}")
            await count.issue(exporter, jobs, bundles(files, _size_of_jobs(files, workers), left_out))
        for line in left_out:
            count.display.say(line)
        # All jobs are done, so the workers have ended, and there is nothing more to collect.
        exporter.hangup("results")
        nursery.cancel_scope.cancel()


def _size_of_jobs(files: Sequence[TextFile], workers: int) -> int:
    fair = sum(file.size for file in files) // (JOBS_PER_WORKER * workers)
    return max(SMALLEST_JOB, min(fair, LARGEST_JOB))


async def _employ(
    count: Count, workers: int, place: Sequence[str], *, task_status: trio.TaskStatus[trio.Process]
) -> None:
    """Runs one of so many worker processes, as long as it lives."""
    # A process group of its own: an interrupt from the keyboard reaches this process alone, and it ends the workers.
    run_process = functools.partial(
        trio.run_process,
        [*WORKER_COMMAND, *place],
        stdin=subprocess.DEVNULL,
        check=False,
        deliver_cancel=_kill,
        process_group=0,
    )
    async with trio.open_nursery() as nursery:
        try:
            process: trio.Process = await nursery.start(run_process)
        except OSError as error:
            raise DemoError(f"a worker process cannot be started: {error.strerror}") from None
        task_status.started(process)
    if process.returncode != 0:
        count.display.say(f"worker {process.pid} {_how_it_ended(process)}")
        count.worker_lost()
        if count.lost == workers and not count.complete:
            raise DemoError("no worker is left, and there are jobs without a result")


async def _kill(process: trio.Process) -> None:
    process.kill()  # it has nothing to tidy up; and one that is stopped would heed nothing else


def _how_it_ended(process: trio.Process) -> str:
    code = process.returncode
    if code is None or code >= 0:
        return f"ended with exit status {code}"
    return f"was ended by signal {-code} ({signal.strsignal(-code)})"


# All of it


async def find_files(directory: Path, display: Display) -> list[TextFile]:
    """The text files below a directory. `DemoError` if it cannot be read, or there are none."""
    try:
        await trio.to_thread.run_sync(os.listdir, directory, abandon_on_cancel=True)
    except OSError as error:
        raise DemoError(f"{directory}: {error.strerror}") from None
    display.begin("looking for text files", None)
    files: list[TextFile] = []
    errors: list[OSError] = []
    look = functools.partial(look_at, candidates(directory, errors), FILES_AT_ONCE, directory, errors)
    looked_at = FILES_AT_ONCE
    while looked_at == FILES_AT_ONCE:
        looked_at, found = await trio.to_thread.run_sync(look, abandon_on_cancel=True)
        files += found
        display.advance(looked_at)
    if errors:
        display.say(f"{_number(len(errors), 'file')} left out: cannot be read")
    if not files:
        raise DemoError(f"{directory}: no text files there")
    return files


async def _count_alone(files: Sequence[TextFile], display: Display) -> Counter[str]:
    """How many words each file has, counted in this process."""
    words: Counter[str] = Counter()
    texts = bundles(files, LARGEST_JOB, [])  # which files are left out was said when the jobs were made
    while (bundle := await _next(texts)) is not None:
        words.update(_count(bundle))
        display.advance(sum(len(piece.text) for piece in bundle))
    return words


def difference(counted: Counter[str], expected: Counter[str]) -> str | None:
    """Where two counts of the words of each file differ, None if nowhere."""
    differing = sorted(name for name in counted.keys() | expected.keys() if counted[name] != expected[name])
    if not differing:
        return None
    examples = ", ".join(f"{name} with {counted[name]:,} and {expected[name]:,}" for name in differing[:3])
    return (
        f"the workers counted {counted.total():,} words, one process {expected.total():,}; they differ in "
        f"{_number(len(differing), 'file')}, such as {examples}"
    )


@attrs.frozen(kw_only=True)
class Outcome:
    """What the demo has to show at the end."""

    files: int
    count: Count
    seconds_alone: float
    """What the same count took in one process."""
    difference: str | None
    """Where the two counts differ."""


async def run(
    directory: Path | None, workers: int, display: Display, *, tls: bool = False, engine: str | None = None
) -> Outcome:
    """Counts the words of the text files below a directory (None: the standard library of this Python) with so many
    worker processes, and again without them. `DemoError` if there is nothing to count, no worker is left, or the engine
    of this URL cannot be reached. `tls`: both sides show certificates, which are made for this run.

    Cancelling it ends the workers at once.
    """
    directory = Path(sysconfig.get_path("stdlib")) if directory is None else directory
    files = await find_files(directory, display)
    size = sum(file.size for file in files)
    display.say(f"{_number(len(files), 'file')} of {directory}")
    display.begin(_number(workers, "worker"), size)
    with tempfile.TemporaryDirectory(prefix="trionetchan-demo-") as secret:
        certificates = Certificates(Path(secret)) if tls else None
        if certificates is not None:
            certificates.make()
        count = await count_with_workers(files, workers, display, certificates=certificates, engine=engine)
    display.begin("one process", size)
    began = trio.current_time()
    expected = await _count_alone(files, display)
    return Outcome(
        files=len(files),
        count=count,
        seconds_alone=trio.current_time() - began,
        difference=difference(count.words, expected),
    )


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
