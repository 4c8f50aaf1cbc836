"""Servers of an engine that tests start for themselves, in a directory of their own."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import child_environment

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")
CLI = shutil.which("redis-cli") or shutil.which("valkey-cli")

_ENDED_WITH_US = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


class RedisServer:
    """One server, which can be killed and started again with what it has on disk."""

    def __init__(
        self, folder: Path, *options: str, port: int = 0, program: str | None = None, sentinel: bool = False
    ) -> None:
        self.folder = folder
        self._sentinel = sentinel
        self.socket = folder / "redis.sock"
        self.port = port
        self.options = options
        self._program = program or PROGRAM
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of its unix socket."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        assert self._program is not None
        command = [*_ENDED_WITH_US, self._program]
        own = ["--port", str(self.port), "--unixsocket", str(self.socket), "--dir", str(self.folder), "--save", ""]
        command += self.options if self._sentinel else [*own, *self.options]
        with child_environment() as environment, (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        for _ in range(500):
            if self.answers():
                return
            assert self._process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.02)
        raise AssertionError((self.folder / "log").read_text())

    def answers(self) -> bool:
        """Whether somebody listens, and has read what is on disk."""
        try:
            family, address = (
                (socket.AF_UNIX, str(self.socket)) if not self._sentinel else (socket.AF_INET, ("127.0.0.1", self.port))
            )
            with socket.socket(family) as line:
                line.settimeout(5)
                line.connect(address)
                line.sendall(b"PING\r\n")
                return not line.recv(100).startswith(b"-LOADING")
        except OSError:
            return False

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def tell(self, *command: str) -> str:
        """What the server answers, by its own command-line client."""
        assert CLI is not None
        with child_environment() as environment:
            done = subprocess.run(
                [CLI, "-s", str(self.socket), *command], capture_output=True, env=environment, check=True
            )
        return done.stdout.decode().strip()


@contextmanager
def redis_server(
    *options: str, port: int = 0, program: str | None = None, sentinel: bool = False
) -> Generator[RedisServer]:
    """A server that runs meanwhile. Its directory has a short name: a unix socket's path may not be long."""
    if PROGRAM is None:
        pytest.skip("there is neither redis-server nor valkey-server on PATH")
    with tempfile.TemporaryDirectory(prefix="netchan", dir=_short()) as folder:
        server = RedisServer(Path(folder), *options, port=port, program=program, sentinel=sentinel)
        server.start()
        try:
            yield server
        finally:
            server.kill()


def free_port() -> int:
    """A TCP port that nobody has just now."""
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        port: int = line.getsockname()[1]
        return port


def _short() -> str | None:
    return "/tmp" if os.path.isdir("/tmp") else None


_numbers = itertools.count()


@pytest.fixture(scope="session")
def redis() -> Generator[RedisServer]:
    """A server for the tests that do not harm it."""
    with redis_server() as running:
        yield running


@pytest.fixture
def namespace() -> str:
    """For the keys of one test."""
    return f"test{next(_numbers)}"
