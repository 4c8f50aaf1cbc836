"""Addresses that importers connect to, and how they are taken: TCP ports and unix sockets."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import ssl
import stat
import sys
from collections.abc import Callable, Collection, Generator
from typing import Any

import trio

from .._log import BoundedLog
from .transport import is_out_of_files, out_of_files_error

__all__ = ["BoundListener", "PatientListener", "exposure", "listen_tcp", "listen_unix"]

ACCEPT_RETRY_DELAY = 0.1  # seconds
TURNS = 32  # of the scheduler between two connections; where nothing else is to do they take less than a millisecond
BACKLOG = 1024  # connections to a unix socket that may wait to be accepted
LOCK_RETRY_DELAY = 0.01  # seconds
LOCK_ATTEMPTS = 500  # counted, not timed: the clock may be a test's own, while the other process runs in real time


class PatientListener(trio.abc.Listener[trio.abc.Stream]):
    """A listener that survives a lack of file descriptors: it logs it once, and accepts again when some are free.

    `make_room` and `log` are set before it accepts. Between two connections, which each take about a millisecond, it
    lets the scheduler turn some times: however many come and go, those that stay have their share.
    """

    make_room: Callable[[], bool]
    """Gives up a connection that can be spared, if there is one: its file descriptor is free then."""
    log: BoundedLog

    def __init__(self, listener: trio.abc.Listener[Any]) -> None:
        self._listener = listener
        self._turns = 0
        self._socket: Any = getattr(getattr(listener, "transport_listener", listener), "socket", None)

    async def accept(self) -> trio.abc.Stream:
        """Waits for an importer, and returns the stream to it."""
        logged = someone_waits = False
        for _ in range(self._turns):
            await trio.lowlevel.checkpoint()
        self._turns = TURNS
        while True:
            try:
                stream: trio.abc.Stream = await self._listener.accept()
            except OSError as error:
                if not is_out_of_files(error):
                    raise
                if self._socket is not None and not someone_waits:
                    # Linux takes the descriptor before it looks whether there is anybody to accept.
                    await trio.lowlevel.wait_readable(self._socket)
                    someone_waits = True
                    continue
                someone_waits = False
                if not logged:
                    self.log.warning("cannot accept importers for now: %s", out_of_files_error())
                    logged = True
                if not self.make_room():
                    await trio.sleep(ACCEPT_RETRY_DELAY)
            else:
                return stream

    async def aclose(self) -> None:
        """Closes it: the address is free again."""
        await self._listener.aclose()


class BoundListener(PatientListener):
    """An address that an exporter serves, with or without TLS: what `serve_tcp` and `serve_unix` start with.

    The address stays readable when the listener is closed.
    """

    socket: trio.socket.SocketType
    """The listening socket, as in `trio.SocketListener`."""
    address: tuple[str, int] | str
    """Host and port, as `open_tcp_importer` takes them; or the path of a unix socket."""

    def __init__(self, listener: trio.SocketListener, ssl_context: ssl.SSLContext | None = None) -> None:
        super().__init__(listener if ssl_context is None else trio.SSLListener(listener, ssl_context))
        self.socket = listener.socket
        name = self.socket.getsockname()
        self.address = os.fsdecode(name) if isinstance(name, (str, bytes)) else (name[0], name[1])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.address!r}>"

    @property
    def port(self) -> int:
        """The TCP port. `AttributeError` for a unix socket, which has none."""
        if isinstance(self.address, str):
            raise AttributeError(f"expected a TCP listener, got one of the unix socket {self.address!r}")  # noqa: TRY004
        return self.address[1]


def exposure(listeners: Collection[BoundListener], ssl_context: ssl.SSLContext | None, *, knows: bool) -> str | None:
    """What is missing where others than this machine reach the listeners; None: nothing is.

    `knows`: whether importers are authenticated, beside what TLS does.
    """
    reached = [listener for listener in listeners if not _is_loopback(str(listener.address[0]))]
    lacks = ["TLS (`ssl_context=`)"] * (ssl_context is None)
    if not (knows or (ssl_context is not None and ssl_context.verify_mode is ssl.CERT_REQUIRED)):
        lacks.append("authentication (`authenticate=`)")
    if not reached or not lacks:
        return None
    addresses = " and ".join(f"{listener.address[0]} port {listener.port}" for listener in reached)
    return f"serving the network, {addresses}, without {' and without '.join(lacks)}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


class UnixListener(BoundListener):
    """A unix socket, whose file goes when it is closed."""

    def __init__(self, listener: trio.SocketListener, file: os.stat_result) -> None:
        super().__init__(listener)
        self._file: os.stat_result | None = file

    async def aclose(self) -> None:
        # The file goes while the socket still listens: nobody takes it for a stale one and replaces it meanwhile, and
        # its inode number is not another file's yet.
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(file, os.stat(str(self.address), follow_symlinks=False)):
                    os.unlink(str(self.address))
        await super().aclose()


async def listen_tcp(
    port: int, host: str | bytes | None, ssl_context: ssl.SSLContext | None = None
) -> list[BoundListener]:
    """Takes a port on every address of the host, as `trio.open_tcp_listeners` does."""
    return [BoundListener(listener, ssl_context) for listener in await trio.open_tcp_listeners(port, host=host)]


async def listen_unix(path: str) -> BoundListener:
    """Takes a path for a unix socket; a socket file there that no process serves is replaced.

    `OSError` if a process serves it, or the file is no socket. Of several processes that try at the same time, exactly
    one succeeds.
    """
    for _ in range(LOCK_ATTEMPTS):  # a thread that waits for a lock could not be cancelled
        with contextlib.suppress(BlockingIOError):
            bound, file = await trio.to_thread.run_sync(_bind_unix, path)
            return UnixListener(trio.SocketListener(trio.socket.from_stdlib_socket(bound)), file)
        await trio.sleep(LOCK_RETRY_DELAY)
    raise OSError(
        errno.EAGAIN, "expected to lock the directory of a unix socket, got: another process keeps it locked", path
    )


def _bind_unix(path: str) -> tuple[socket.socket, os.stat_result]:
    """Does it, and returns the listening socket and its file. `BlockingIOError` while another process is at it."""
    with _locked(os.path.dirname(path) or os.curdir), contextlib.ExitStack() as on_error:
        _remove_stale(path)
        bound = on_error.enter_context(socket.socket(socket.AF_UNIX))
        bound.bind(path)
        on_error.callback(os.unlink, path)
        file = os.stat(path, follow_symlinks=False)
        bound.listen(BACKLOG)
        on_error.pop_all()
        return bound, file


@contextlib.contextmanager
def _locked(directory: str) -> Generator[None]:
    """Keeps the directory locked against other processes that do the same. `BlockingIOError` if one has locked it.

    Some directories cannot be locked: one that may not be read, or of a file system without locks. Nothing is locked
    then. What this guards against becomes possible there: of two processes that replace the same stale socket file in
    the same instant, both may believe that they serve it, while the path leads to the later one only.
    """
    with contextlib.ExitStack() as stack:
        if sys.platform != "win32":
            import fcntl

            try:
                descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
                stack.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise
            except OSError:
                pass
        yield


def _remove_stale(path: str) -> None:
    """Removes a socket file that no process serves. `OSError` if one does, or if the file is no socket."""
    try:
        mode = os.stat(path, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "expected a socket or nothing, got another file", path)
    # A datagram socket: a live server of streams refuses it by its type, and does not notice.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe, contextlib.suppress(FileNotFoundError):
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:
                raise
        raise OSError(errno.EADDRINUSE, "expected a free path, got one that is being listened on", path)
