"""The bytes of a connection, out of and into its stream; and what the stream's errors mean, in words.

A socket is read and written here without `trio.SocketStream`'s layers around each call, which cost a tenth of a round
trip. It can be written without waiting, and from several buffers without joining them. Trio still does the waiting and
the closing. Any other stream (TLS, a pipe, a test's own) is used through its own methods.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import socket
import ssl
import struct
import sys
from typing import Any, cast

import trio

from .._errors import printable
from .._identity import Credentials, UnixUser, certificate_of

__all__ = [
    "READ_SIZE",
    "STREAM_ERRORS",
    "Piece",
    "Transport",
    "check_ssl_context",
    "is_out_of_files",
    "out_of_files_error",
    "reason",
    "transport_over",
]

READ_SIZE = 512 * 2**10  # bytes
CHUNK_SIZE = 64 * 2**10  # bytes given to a stream at a time, where `send_all` reports no progress
MAX_BUFFERS = 64  # written from where they are; more buffers than this are small ones, and are joined
ALERT = b"\x15\x03\x03\x00\x02\x02\x46"  # of TLS: fatal, no version of TLS in common

STREAM_ERRORS = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
"""What a stream that is broken or closed raises."""

Piece = bytes | memoryview


class Transport:
    """Any stream. One task receives, and one sends.

    `receive`, `send_all` and `send_eof` raise one of `STREAM_ERRORS` when the stream is broken or closed.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.progressed = -math.inf
        """When the peer last took bytes of a `send_all` that had to wait."""

    def __repr__(self) -> str:
        return repr(self._stream)

    @property
    def peer_name(self) -> str:
        """The peer's address, for a log line; the stream's `repr` if it has none."""
        transport: Any = getattr(self._stream, "transport_stream", self._stream)
        try:
            return str(transport.socket.getpeername()) or "a unix socket"
        except (AttributeError, OSError):
            return repr(self._stream)

    @property
    def confidential(self) -> bool:
        """Whether nobody on the way can read or change what is said."""
        return getattr(self._stream, "confidential", False) is True  # a WebSocket is if what is below it is

    @property
    def credentials(self) -> Credentials:
        """What the stream itself shows of the peer. TLS must have been negotiated."""
        below = getattr(self._stream, "credentials", None)  # those of a WebSocket are of what is below it
        return below if isinstance(below, Credentials) else Credentials(address=self.peer_name)

    async def receive(self, size: int = READ_SIZE) -> bytes:
        """The next bytes, at most so many; empty at the end of the stream."""
        return bytes(await self._stream.receive_some(size))

    def send_nowait(self, pieces: list[Piece]) -> list[Piece]:
        """Sends what can be sent without waiting, while no task is in `send_all`. Returns the unsent rest."""
        return pieces

    async def send_all(self, pieces: list[Piece]) -> None:
        """Sends all of it. If it is cancelled, nothing can be sent any more."""
        data = b"".join(pieces)
        for start in range(0, len(data), CHUNK_SIZE):
            if start:
                self.progressed = trio.current_time()
            await self._stream.send_all(data[start : start + CHUNK_SIZE])

    async def send_eof(self) -> None:
        """Closes our direction only, so that the peer can still be heard; does nothing where the stream cannot."""
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            await self._stream.send_eof()

    async def aclose(self) -> None:
        """Closes the stream, without a TLS goodbye if it is cancelled. No error of the stream is raised."""
        with contextlib.suppress(*STREAM_ERRORS):  # trio's TLS raises ClosedResourceError where its socket has ended
            await self._stream.aclose()


class SocketTransport(Transport):
    """A socket, on a system where `os.read` and `os.writev` take its descriptor."""

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__(stream)
        self._fileno = stream.socket.fileno  # asked each time: -1 once closed, when the number may be another file's
        self._socket = stream.socket

    @property
    def confidential(self) -> bool:
        return _is_unix(self._socket)

    @property
    def credentials(self) -> Credentials:
        user = _unix_user(self._socket) if self.confidential else None
        return Credentials(address=self.peer_name, unix_user=user, confidential=self.confidential)

    async def receive(self, size: int = READ_SIZE) -> bytes:
        await trio.lowlevel.checkpoint_if_cancelled()  # before the read: what is read is not lost
        try:
            data = os.read(self._fileno(), size)
        except BlockingIOError:
            pass
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return data
        while True:
            await trio.lowlevel.wait_readable(self._fileno())
            with contextlib.suppress(BlockingIOError):
                return os.read(self._fileno(), size)

    def send_nowait(self, pieces: list[Piece]) -> list[Piece]:
        pieces = _join_many(pieces)
        with contextlib.suppress(OSError):  # full, or broken: the next `send_all` raises then
            while pieces:
                pieces = _skip(os.writev(self._fileno(), pieces), pieces)
        return pieces

    async def send_all(self, pieces: list[Piece]) -> None:
        await trio.lowlevel.checkpoint()
        pieces = _join_many(pieces)
        while pieces:
            try:
                pieces = _skip(os.writev(self._fileno(), pieces), pieces)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._fileno())
                self.progressed = trio.current_time()


class TLSTransport(Transport):
    """TLS. When it fails, it tells the peer why.

    OpenSSL writes an alert for the peer, which trio does not send (python-trio/trio#3413); to bytes that are not TLS
    at all it writes none. Without an alert, an importer that lacks a certificate, or that does not use TLS, would see
    nothing but the end of the stream.
    """

    def __init__(self, stream: trio.SSLStream[Any]) -> None:
        super().__init__(stream)
        self._under: trio.abc.Stream = stream.transport_stream
        self._tls = stream

    @property
    def confidential(self) -> bool:
        return True

    @property
    def credentials(self) -> Credentials:
        # The fields are empty for a certificate that was not verified.
        encoded, fields = self._tls.getpeercert(binary_form=True), self._tls.getpeercert()
        certificate = certificate_of(fields, encoded) if encoded and fields else None
        return Credentials(address=self.peer_name, certificate=certificate, confidential=True)

    async def receive(self, size: int = READ_SIZE) -> bytes:
        try:
            return await super().receive(size)
        except trio.BrokenResourceError as error:
            self._send_alert(error.__cause__)
            raise

    async def send_all(self, pieces: list[Piece]) -> None:
        try:
            await super().send_all(pieces)
        except trio.BrokenResourceError as error:
            self._send_alert(error.__cause__)
            raise

    async def aclose(self) -> None:
        # Trio's would begin the handshake, or wait for its end, to say goodbye then.
        try:
            self._tls.getpeercert(binary_form=True)
        except (trio.NeedHandshakeError, ValueError):  # not begun, or not come to its end
            await trio.aclose_forcefully(self._tls)
        else:
            await super().aclose()

    def _send_alert(self, error: BaseException | None) -> None:
        if isinstance(error, ssl.SSLError):
            outgoing: Any = getattr(self._stream, "_outgoing", None)  # private to trio
            alert = outgoing.read() if isinstance(outgoing, ssl.MemoryBIO) else b""
            if not alert and _meaning(error) == _NOT_TLS:
                alert = ALERT
            transport_over(self._under).send_nowait([alert])


def _is_unix(of: trio.socket.SocketType) -> bool:
    return of.family == getattr(socket, "AF_UNIX", None)


def _unix_user(of: trio.socket.SocketType) -> UnixUser | None:
    """Whose process is at the other end of a unix socket. None: the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    try:
        pid, uid, gid = struct.unpack("3i", of.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))
    except OSError:
        return None
    return UnixUser(uid=uid, gid=gid, pid=pid)


def is_out_of_files(error: BaseException | None) -> bool:
    """Whether an error says, itself or in its causes, that there is no free file descriptor."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(is_out_of_files, cast("BaseExceptionGroup[BaseException]", error).exceptions))
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return True
    return error is not None and is_out_of_files(error.__cause__)


def out_of_files_error() -> OSError:
    """An error that says so, with the limit of this process."""
    limit = ""
    if sys.platform != "win32":
        import resource

        limit = f" ({resource.getrlimit(resource.RLIMIT_NOFILE)[0]} are allowed to this process: `ulimit -n`)"
    return OSError(errno.EMFILE, f"expected a free file descriptor for one more connection, got none{limit}")


def _join_many(pieces: list[Piece]) -> list[Piece]:
    return pieces if len(pieces) <= MAX_BUFFERS else [b"".join(pieces)]


def _skip(size: int, pieces: list[Piece]) -> list[Piece]:
    """The pieces without their first `size` bytes."""
    for index, piece in enumerate(pieces):
        if size < len(piece):
            return [memoryview(piece)[size:], *pieces[index + 1 :]]
        size -= len(piece)
    return []


def transport_over(stream: trio.abc.Stream) -> Transport:
    """The transport for this kind of stream."""
    if isinstance(stream, trio.SocketStream) and os.name == "posix":
        return SocketTransport(stream)
    if isinstance(stream, trio.SSLStream):
        return TLSTransport(stream)  # pyright: ignore[reportUnknownArgumentType]
    return Transport(stream)


def check_ssl_context(context: ssl.SSLContext, *, server: bool) -> None:
    """`ValueError` for a context that is made for the other side."""
    wrong = ssl.PROTOCOL_TLS_CLIENT if server else ssl.PROTOCOL_TLS_SERVER
    if context.protocol != wrong:
        return
    if server:
        raise ValueError(
            "expected an `ssl_context` for servers, got one for clients: make it with "
            "`ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)`, then `load_cert_chain`"
        )
    raise ValueError(
        "expected an `ssl_context` for clients, got one for servers: make it with `ssl.create_default_context()`"
    )


_NOT_TLS = "bytes that are not TLS: the other side does not use TLS (no `ssl_context` there?)"
_TLS_REASONS = {
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "HTTP_REQUEST": _NOT_TLS,
    "HTTPS_PROXY_REQUEST": _NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": _NOT_TLS,
    "RECORD_LAYER_FAILURE": _NOT_TLS,
    "UNEXPECTED_EOF_WHILE_READING": "the end of the stream, without the goodbye of TLS",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no certificate from the other side, and this side requires one",
    "NO_SHARED_CIPHER": "no cipher in common with the other side (has this side a certificate: `load_cert_chain`?)",
    "UNSUPPORTED_PROTOCOL": "no version of TLS in common with the other side",
    "TLSV1_ALERT_PROTOCOL_VERSION": "no version of TLS in common with the other side",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": (
        "a refusal: the other side requires a certificate, and this side sent none (`ssl_context.load_cert_chain`)"
    ),
    "SSLV3_ALERT_HANDSHAKE_FAILURE": (
        "a refusal: a certificate is missing on one of the sides, or no version or cipher is in common"
    ),
    "TLSV1_ALERT_UNKNOWN_CA": "a refusal: the other side does not know the authority of this side's certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "a refusal: the other side does not accept this side's certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "a refusal: this side's certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "a refusal: the other side does not accept this side's certificate",
}
"""What the `reason` of an `ssl.SSLError` means to a user of this library."""

# `verify_code` of an `ssl.SSLCertVerificationError`, as in OpenSSL's x509_vfy.h
_UNKNOWN_AUTHORITY = {18, 19, 20, 21}
_WRONG_NAME = {62, 64}


def reason(error: BaseException) -> str:
    """What a stream's error means, as far as that is known, and the words of the error itself."""
    cause = error.__cause__ or error
    words = printable(f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__)
    meaning = _meaning(cause)
    return f"{meaning} ({words})" if meaning else words


def _meaning(error: BaseException) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        code = getattr(error, "verify_code", None)
        if code in _UNKNOWN_AUTHORITY:
            return "a certificate of an authority that this side does not know (`ssl_context.load_verify_locations`)"
        if code in _WRONG_NAME:
            return "a certificate for another name (`server_hostname=`)"
        return "a certificate that this side does not accept"
    if isinstance(error, ssl.SSLError):
        return _TLS_REASONS.get(getattr(error, "reason", ""))
    return None
