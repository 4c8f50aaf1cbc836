"""The demo, as the processes that its user runs; a file that each of them runs at its start meddles where a test says.

So that no test depends on how fast which process is, what a worker does at the decisive moment is put in its place.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from support import child_environment

from trionetchan import __version__
from trionetchan._cli import demo, texts

FILES = {
    "one.txt": "the quick brown fox\n" * 50,
    "two.py": "def jumps(over): return lazy_dog\n" * 50,
    "sub/three": "über – Straße\n",
    "empty.txt": "",
}
WORDS = 4 * 50 + 5 * 50 + 2

WORKER = """
import sys
if "demo-worker" in sys.orig_argv:
    import fcntl, os, signal
    from trionetchan._cli import demo
"""
SMALL_JOBS = """
from trionetchan._cli import demo
demo.SMALLEST_JOB = 100
"""

# The first worker holds a lock that the others wait for, and dies with jobs in its hands: the result of one of them has
# arrived, and that job is not acknowledged; another is begun.
FIRST_WORKER_DIES = """
    lock = open(LOCK, "a+")
    fcntl.flock(lock, fcntl.LOCK_EX)
    if os.fstat(lock.fileno()).st_size:  # asked when the lock is held: the file may be older than what the first wrote
        lock.close()
    else:
        lock.write("the first has been here")
        lock.flush()
        async def work(importer):
            results = await importer.open_send_channel("results", demo.Result)
            jobs = await importer.open_receive_channel("jobs", demo.Job, window=3, acknowledge="manual")
            job = (await jobs.receive()).value
            await results.send(demo.Result(job=job.number, worker=os.getpid(), words=demo._count(job.pieces)))
            await importer.drain("results")
            await jobs.receive()
            os.kill(os.getpid(), signal.SIGKILL)
        demo.work = work
"""
# Whoever starts the demo is told where the certificates are; and before the first worker another importer tries.
STRANGER_COMES_FIRST = """
import sys
if "demo" in sys.orig_argv:
    import ssl, trio, trionetchan
    from trionetchan._cli import certificates, demo
    make = certificates.Certificates.make
    def make_and_tell(self):
        make(self)
        print("certificates in", self.directory, flush=True)
    certificates.Certificates.make = make_and_tell
    employ = demo._employ
    async def come_first(count, workers, place, **rest):
        context = trionetchan.client_ssl_context(authority=place[-1] + "/authority.pem")
        try:
            async with trionetchan.open_tcp_importer(
                "127.0.0.1", int(place[0]), ssl_context=context, server_hostname="exporter.demo"
            ) as importer:
                await importer.open_receive_channel("jobs")
        except trionetchan.NetchanError as error:
            print("the stranger got", type(error).__name__, flush=True)
        await employ(count, workers, place, **rest)
    demo._employ = come_first
"""
EVERY_WORKER_DIES = """
    demo.count_words = lambda text: os.kill(os.getpid(), signal.SIGKILL)
"""
WORKERS_COUNT_WRONG = """
    count_words = demo.count_words
    demo.count_words = lambda text: count_words(text) + 1
"""
WORKERS_NEVER_ANSWER = """
    def count_words(text):
        os.write(1, b"counting\\n")  # at once: what two workers write must not mix
        signal.pause()
    demo.count_words = count_words
"""
NOTHING_INSTALLED = """
import sys
sys.modules["rich"] = sys.modules["cyclopts"] = None
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with the text files and much that is none."""
    top = tmp_path / "files"
    for name, text in FILES.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (top / "latin-1.txt").write_bytes("Übermut tut\xa0nicht gut".encode("latin-1"))  # bermut tut nicht gut
    (top / "binary").write_bytes(b"not text\0")
    (top / ".hidden").write_text("not seen")
    (top / "site-packages").mkdir()
    (top / "site-packages" / "other.py").write_text("not ours")
    (top / "gone.txt").symlink_to("nowhere")
    os.mkfifo(top / "pipe")
    return top


@attrs.frozen
class Ran:
    status: int
    output: str
    errors: str


@contextmanager
def environment(tmp_path: Path, meddling: str = "") -> Generator[dict[str, str]]:
    """Environment variables that have each process of the demo run `meddling` at its start."""
    path = tmp_path / "meddling.py"
    path.write_text(f"LOCK = {str(tmp_path / 'lock')!r}\n{meddling}")
    with child_environment(TRIONETCHAN_MEDDLING=path, COLUMNS=200) as env:
        yield env


async def run(tmp_path: Path, *arguments: object, meddling: str = "") -> Ran:
    """Runs the command to its end."""
    with environment(tmp_path, meddling) as env:
        ran = await trio.run_process(
            [sys.executable, "-m", "trionetchan", *map(str, arguments)],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=env,
        )
    return Ran(ran.returncode, ran.stdout.decode(), ran.stderr.decode())


async def test_counts_every_word_once(tmp_path: Path, directory: Path) -> None:
    ran = await run(tmp_path, "demo", directory, "--workers", 2)
    assert (ran.status, ran.errors) == (0, "")
    assert f"{WORDS + 4} words in 5 files" in ran.output
    assert "1 file left out: cannot be read" in ran.output
    assert "one process counts the same" in ran.output


async def test_over_mutual_tls(tmp_path: Path, directory: Path) -> None:
    """A stranger learns nothing at its port, and no certificate is left behind."""
    ran = await run(tmp_path, "demo", directory, "--workers", 2, "--tls", meddling=STRANGER_COMES_FIRST)
    assert (ran.status, ran.errors) == (0, "")
    assert re.search(r"^2 workers at port \d+, over mutual TLS: process", ran.output, re.MULTILINE)
    assert "the stranger got ConnectionLostError" in ran.output
    assert f"{WORDS + 4} words in 5 files" in ran.output
    [made_in] = re.findall(r"certificates in (.*)", ran.output)
    assert not await trio.Path(made_in).exists()


async def test_killed_worker_costs_no_word(tmp_path: Path, directory: Path) -> None:
    ran = await run(tmp_path, "demo", directory, "--workers", 3, meddling=SMALL_JOBS + WORKER + FIRST_WORKER_DIES)
    assert ran.status == 0
    assert re.search(r"^worker \d+ was ended by signal 9 \(Killed\)$", ran.output, re.MULTILINE)
    assert re.search(r"^[23] jobs of workers that are gone went to others$", ran.output, re.MULTILINE)
    assert f"{WORDS + 4} words in 5 files" in ran.output
    assert "Traceback" not in ran.errors


async def test_without_workers_left_it_gives_up(tmp_path: Path, directory: Path) -> None:
    ran = await run(tmp_path, "demo", directory, "--workers", 2, meddling=WORKER + EVERY_WORKER_DIES)
    assert ran.status == 1
    assert "trionetchan: no worker is left, and there are jobs without a result\n" in ran.errors
    assert "Traceback" not in ran.errors


async def test_another_total_is_a_failure(tmp_path: Path, directory: Path) -> None:
    ran = await run(tmp_path, "demo", directory, "--workers", 1, meddling=WORKER + WORKERS_COUNT_WRONG)
    assert ran.status == 1
    assert f"the workers counted {WORDS + 8} words, one process {WORDS + 4}" in ran.errors


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_interrupt_ends_all_processes_at_once(tmp_path: Path, number: signal.Signals, status: int) -> None:
    directory = directory_of_jobs(tmp_path)
    with environment(tmp_path, WORKER + WORKERS_NEVER_ANSWER) as env:
        times = [await seconds_until_ended(directory, env, number, status)]
        # On a machine with more to do than processors to do it, the first may be slow through no fault of its own.
        while times[-1] >= 1 and len(times) < 3:
            times.append(await seconds_until_ended(directory, env, number, status))
    assert min(times) < 1


async def seconds_until_ended(directory: Path, env: dict[str, str], number: signal.Signals, status: int) -> float:
    """Interrupts a demo, whose workers have no time for anybody, as a terminal does: all of its process group."""
    process = await start_demo(directory, env)
    assert process.stderr is not None
    try:
        workers = await workers_at_work(process)
        began = trio.current_time()
        os.killpg(process.pid, number)
        await process.wait()
        seconds = trio.current_time() - began
        assert process.returncode == status
        assert b"".join([chunk async for chunk in process.stderr]) == b""
    finally:
        await end(process)
    assert_gone(workers)
    return seconds


def directory_of_jobs(tmp_path: Path) -> Path:
    """A directory of 20 files that are a job each: enough for two workers, whichever is there first."""
    directory = tmp_path / "files"
    directory.mkdir()
    for name in range(20):
        (directory / str(name)).write_text("word " * (demo.SMALLEST_JOB // 5))
    return directory


async def start_demo(directory: Path, env: dict[str, str]) -> trio.Process:
    return await trio.lowlevel.open_process(
        [sys.executable, "-m", "trionetchan", "demo", str(directory), "--workers", "2"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
        env=env,
    )


async def workers_at_work(process: trio.Process) -> list[int]:
    """The process ids of the two workers, once both are counting (and never answer)."""
    assert process.stdout is not None
    output = b""
    while output.count(b"counting\n") < 2:
        chunk = await process.stdout.receive_some()
        assert chunk, "the demo has ended by itself"
        output += chunk
    named = re.search(rb"process (\d+), (\d+)\n", output)
    assert named is not None
    return [int(worker) for worker in named.groups()]


async def end(process: trio.Process) -> None:
    process.kill()
    with trio.CancelScope(shield=True):
        await process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            await pipe.aclose()


def assert_gone(processes: list[int]) -> None:
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


async def test_closed_output_ends_it_quietly_and_its_workers(tmp_path: Path) -> None:
    with environment(tmp_path, WORKER + WORKERS_NEVER_ANSWER) as env:
        process = await start_demo(directory_of_jobs(tmp_path), env)
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            workers = await workers_at_work(process)
            await process.stdout.aclose()
            os.kill(workers[0], signal.SIGKILL)  # which the demo tells its user
            assert await process.wait() == 141
            assert b"".join([chunk async for chunk in process.stderr]) == b""
        finally:
            await end(process)
        assert_gone(workers)


@pytest.mark.parametrize("argument", ["--help", "--version"])
async def test_closed_output_of_a_short_answer(tmp_path: Path, argument: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with environment(tmp_path) as env:
        command = [sys.executable, "-m", "trionetchan", argument]
        ran = await trio.run_process(command, stdout=writing, capture_stderr=True, check=False, env=env)
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (141, b"")


async def test_missing_directory_is_said_in_one_line(tmp_path: Path) -> None:
    ran = await run(tmp_path, "demo", tmp_path / "missing")
    assert (ran.status, ran.output.strip()) == (1, "")
    assert ran.errors == f"trionetchan: {tmp_path / 'missing'}: No such file or directory\n"


async def test_without_the_extra_it_says_how_to_get_it(tmp_path: Path) -> None:
    ran = await run(tmp_path, "--version", meddling=NOTHING_INSTALLED)
    assert ran.status == 1
    assert ran.output == ""
    assert ran.errors == 'trionetchan: the command line is an extra; install it: pip install "trionetchan[cli]"\n'


async def test_worker_without_a_demo_says_so(tmp_path: Path) -> None:
    with trio.socket.socket() as taken:  # bound and not listening: nobody can have this port, and nobody answers
        await taken.bind(("127.0.0.1", 0))
        ran = await run(tmp_path, "demo-worker", taken.getsockname()[1])
    assert ran.status == 1
    assert ran.errors.startswith("trionetchan: ")
    assert ran.errors.count("\n") == 1


async def test_help_shows_the_demo_and_not_its_worker(tmp_path: Path) -> None:
    ran = await run(tmp_path, "--help")
    assert (ran.status, ran.errors) == (0, "")
    assert "demo" in ran.output
    assert "demo-worker" not in ran.output


async def test_version(tmp_path: Path) -> None:
    ran = await run(tmp_path, "--version")
    assert (ran.status, ran.output, ran.errors) == (0, f"{__version__}\n", "")


# Its parts


async def test_text_files_and_nothing_else(directory: Path) -> None:
    display = Remembered()
    files = await demo.find_files(directory, display)
    assert sorted(file.name for file in files) == sorted([*FILES, "latin-1.txt"])
    assert display.lines == ["1 file left out: cannot be read"]
    assert {file.name: file.size for file in files}["empty.txt"] == 0


async def test_search_of_many_files_shows_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "FILES_AT_ONCE", 10)
    for number in range(25):
        (tmp_path / str(number)).write_bytes(b"\0" if number % 2 else b"word")
    display = Remembered()
    assert len(await demo.find_files(tmp_path, display)) == 13
    assert display.steps == [10, 10, 5]


async def test_nothing_to_count(tmp_path: Path) -> None:
    with pytest.raises(demo.DemoError, match="no text files there"):
        await demo.run(tmp_path, 1, Remembered())
    (tmp_path / "file").touch()
    with pytest.raises(demo.DemoError, match="Not a directory"):
        await demo.run(tmp_path / "file", 1, Remembered())


@attrs.define
class Remembered:
    """A display that remembers what it was to show."""

    lines: list[str] = attrs.field(factory=list[str])
    steps: list[int] = attrs.field(factory=list[int])

    def say(self, text: str) -> None:
        self.lines.append(text)

    def begin(self, what: str, total: int | None) -> None: ...

    def advance(self, count: int) -> None:
        self.steps.append(count)


async def test_name_that_is_not_text_is_made_text(tmp_path: Path) -> None:
    os.mknod(os.fsencode(tmp_path) + b"/\xff")
    files = await demo.find_files(tmp_path, Remembered())
    assert [file.name for file in files] == ["\N{REPLACEMENT CHARACTER}"]


TEXTS = st.lists(st.sampled_from([b" ", b"\n", b"a", b"bcd", "é".encode()])).map(b"".join)


@settings(deadline=None)
@given(TEXTS)
def test_pieces_are_cut_between_words(text: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(text)
        file.flush()
        cut = list(texts.pieces(Path(file.name), 8))
    assert b"".join(cut) == text
    assert all(0 < len(piece) <= 8 for piece in cut)
    if all(len(word) < 8 for word in text.split()):
        assert sum(map(texts.count_words, cut)) == texts.count_words(text)


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=5))
def test_bundles_hold_all_text_and_are_not_small_without_need(contents: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        files = [texts.TextFile(Path(directory, str(number)), str(number), 0) for number in range(len(contents))]
        for file, content in zip(files, contents, strict=True):
            file.path.write_bytes(content)
        files.insert(1, texts.TextFile(Path(directory, "gone"), "gone", 0))
        left_out: list[str] = []
        made = list(texts.bundles(files, 20, left_out))
    assert left_out == ["gone left out: No such file or directory"]
    for number, content in enumerate(contents):
        assert b"".join(piece.text for bundle in made for piece in bundle if piece.file == str(number)) == content
    sizes = [sum(len(piece.text) for piece in bundle) for bundle in made]
    assert all(0 < size <= 20 for size in sizes)
    for (size, _), (_, following) in itertools.pairwise(zip(sizes, made, strict=True)):
        assert size + len(following[0].text) > 20


def test_no_difference() -> None:
    assert demo.difference(Counter(a=1, b=0), Counter(a=1)) is None


def test_difference_names_files() -> None:
    found = demo.difference(Counter(a=1, b=2), Counter(a=1, b=1_000, c=3))
    assert found == (
        "the workers counted 3 words, one process 1,004; they differ in 2 files, "
        "such as b with 2 and 1,000, c with 0 and 3"
    )
