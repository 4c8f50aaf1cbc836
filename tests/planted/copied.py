"""A copy of the package and its tests, in which one file at a time is changed, and tests are run.

Each run is a process of its own, forked from this one, which has imported what is large and always the same: that saves
a second each time. So this process must not import the package itself.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
from hypothesis import Phase, settings

__all__ = ["ROOT", "Copy", "Outcome", "Run", "preload"]

ROOT = Path(__file__).parents[2]
COPIED = ("trionetchan", "tests", "docs", "pyproject.toml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md")
LARGE = ("trio", "trio.testing", "hypothesis", "hypothesis.stateful", "cbor2", "attrs", "ssl", "wsproto", "trustme")
RESULT, RUNNING = "result.json", "running.txt"  # what a run writes: what came of it, and the test that it is at
MEMORY = 4 * 2**30  # bytes that a run may take: a bug may make it endless
LONGEST = 12.0  # seconds of the processor that a test may take, unless said otherwise
LONGEST_RUN = 1200.0  # seconds that all tests of a run may take, however busy the machine is


def preload() -> None:
    """Imports what is large and always the same.

    A failure is enough: hypothesis does not look for the smallest one, which can take minutes.
    """
    for name in LARGE:
        importlib.import_module(name)
    phases = [Phase.explicit, Phase.reuse, Phase.generate]
    settings.register_profile("default", phases=phases, report_multiple_bugs=False)


@attrs.frozen
class Outcome:
    """What came of a run. `failed`: each test that failed, and why; `broken`: why tests could not even be run."""

    passed: int = 0
    failed: dict[str, str] = attrs.field(factory=dict[str, str])
    broken: str = ""
    endless: bool = False
    """Whether a test was ended that took too long."""
    seconds: dict[str, float] = attrs.field(factory=dict[str, float])
    """How long each test took, of the processor's time."""

    @property
    def seen(self) -> bool:
        """Whether there is anything wrong."""
        return bool(self.failed or self.broken)


class _Recorder:
    """A plugin of pytest: keeps the tests that are `wanted`, in that order, and writes down what comes of them."""

    def __init__(self, wanted: Sequence[str] | None, running: Path, longest: float) -> None:
        self.outcome = Outcome()
        self._longest = longest
        self._begun = 0.0
        self._running = running
        self._wanted = None if wanted is None else {name: place for place, name in enumerate(wanted)}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._begun = time.process_time()
        self._running.write_text(nodeid, "utf-8")
        signal.setitimer(signal.ITIMER_PROF, self._longest)  # its signal ends the process

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.outcome.seconds[nodeid] = time.process_time() - self._begun

    def pytest_sessionfinish(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        if self._wanted is not None:
            places = self._wanted
            items[:] = sorted((item for item in items if item.nodeid in places), key=lambda item: places[item.nodeid])

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.outcome = attrs.evolve(self.outcome, broken=str(report.longrepr))

    def pytest_runtest_logreport(self, report: Any) -> None:
        outcome = self.outcome
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            outcome.failed[report.nodeid] = str(report.longrepr if crash is None else crash.message)
        elif report.passed and report.when == "call":
            self.outcome = attrs.evolve(outcome, passed=outcome.passed + 1)


class Run:
    """Tests that run in a process of their own."""

    def __init__(self, copy: Copy, arguments: Sequence[str], wanted: Sequence[str] | None, longest: float) -> None:
        self._longest = longest
        self._result = copy.root / RESULT
        self._running = copy.root / RUNNING
        self._result.unlink(missing_ok=True)
        self._running.unlink(missing_ok=True)
        self._until = time.monotonic() + LONGEST_RUN
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            _run_and_exit(copy.root, arguments, wanted, longest)

    def wait(self) -> Outcome:
        """Waits until it has ended, or has taken too long."""
        while (outcome := self.poll()) is None:
            time.sleep(0.01)
        return outcome

    def poll(self) -> Outcome | None:
        """What came of it, if it has ended."""
        pid, _ = os.waitpid(self.pid, os.WNOHANG)
        if not pid and time.monotonic() > self._until:
            os.killpg(self.pid, signal.SIGKILL)
            pid, _ = os.waitpid(self.pid, 0)
        if not pid:
            return None
        try:
            return Outcome(**json.loads(self._result.read_text("utf-8")))
        except FileNotFoundError:
            running = self._running.read_text("utf-8") if self._running.exists() else "the import"
            return Outcome(broken=f"ended after {self._longest:g} s: {running}", endless=True)


def _run_and_exit(root: Path, arguments: Sequence[str], wanted: Sequence[str] | None, longest: float) -> None:
    """In the child: runs the tests, writes what came of it, and ends the process."""
    try:
        os.setpgid(0, 0)
        signal.setitimer(signal.ITIMER_PROF, longest)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        output = os.open(root / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(root)
        for name in [name for name in os.environ if name.startswith(("PYTEST", "PYTHON"))]:
            del os.environ[name]
        sys.path[:] = [str(root), *(path for path in sys.path if path not in ("", str(ROOT)))]
        package = importlib.import_module("trionetchan")
        assert Path(str(package.__file__)).is_relative_to(root), package.__file__
        pytest: Any = importlib.import_module("pytest")
        recorder = _Recorder(wanted, root / RUNNING, longest)
        pytest.main(["-q", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments], [recorder])
        outcome = recorder.outcome
    except BaseException as error:
        outcome = Outcome(broken=f"{type(error).__name__}: {error}")
    try:
        unfinished = root / f"{RESULT}.new"
        unfinished.write_text(json.dumps(attrs.asdict(outcome)), "utf-8")
        unfinished.rename(root / RESULT)
    finally:
        os._exit(0)


class Copy:
    """A copy in a temporary directory, which is gone at the end of the block."""

    def __init__(self, source: Path = ROOT) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="planted-")).resolve()
        self._originals: dict[Path, bytes] = {}
        for name in COPIED:
            if (source / name).is_dir():
                shutil.copytree(source / name, self.root / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source / name, self.root / name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        shutil.rmtree(self.root)

    def change(self, file: str, change: Callable[[bytes], bytes]) -> None:
        """Changes one file, until `restore`."""
        path = self.root / file
        self._originals.setdefault(path, path.read_bytes())
        self._write(path, change(path.read_bytes()))

    def restore(self) -> None:
        """Undoes all changes."""
        while self._originals:
            self._write(*self._originals.popitem())

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        path.write_bytes(content)
        # What was compiled before is told by the second of its change and by its size, and both may be the same.
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
            compiled.unlink()

    def run(self, arguments: Sequence[str], wanted: Sequence[str] | None = None, *, longest: float = LONGEST) -> Run:
        """Runs tests with these arguments of pytest; of those only the `wanted`, if given, and in that order.

        A test that takes more than `longest` seconds of the processor ends the run.
        """
        return Run(self, arguments, wanted, longest)
