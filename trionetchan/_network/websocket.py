"""A WebSocket as a stream of bytes: what a browser can open. RFC 6455.

Built on wsproto, which has the protocol without I/O, and not on trio-websocket: that reads in a task of its own into
a queue of whole messages, while the connection here reads by itself and takes bytes as they come, so that nothing is
held twice; and it cannot say "nothing more from me" and go on reading.

Binary messages are arbitrary cuts of the stream. Neither is compressed, and text is refused. A WebSocket cannot be
closed in one direction only: `send_eof` sends a close frame, and the peer's close frame is the end of what comes.

The reader never writes, so that it never waits for a peer that does not read: a ping is answered by a task of its own,
and a peer that breaks the protocol is told by `aclose`.
"""

from __future__ import annotations

import contextlib
import operator
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import TracebackType

import attrs
import trio

try:
    from wsproto.connection import Connection as Protocol
    from wsproto.connection import ConnectionState, ConnectionType
    from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong
    from wsproto.extensions import Extension
    from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits
    from wsproto.utilities import LocalProtocolError
except ImportError as error:
    raise ImportError('expected the package wsproto for WebSocket: pip install "trionetchan[websocket]"') from error

from .._errors import ConnectionLostError, ProtocolError
from .._identity import Credentials
from .._instruments import operation
from .._limits import Limits
from .._log import BoundedLog
from .._protocol.costs import Costs, Judge
from .dialing import Dial, open_tcp_stream
from .transport import READ_SIZE, STREAM_ERRORS, Transport, check_ssl_context, reason, transport_over
from .websocket_handshake import (
    SUBPROTOCOL,
    Address,
    Refused,
    Unfit,
    accept,
    checked_origins,
    connect,
    parse_url,
    refuse,
)

__all__ = ["Acceptor", "Address", "WebSocketStream", "checked_origins", "connected", "dial", "parse_url"]

MAX_MESSAGE_SIZE = 2**20  # bytes; part of the protocol, so no choice
MESSAGE_SIZE = 64 * 2**10  # bytes, of those that are written


class _Rules(Extension):
    """Refuses messages by the heads of their frames, before anything of them is kept.

    To wsproto it is an extension, which sees each head. It is never offered nor accepted.
    """

    name = "rules-of-trionetchan"

    def __init__(self) -> None:
        self.broken = ""
        self._size = 0  # of the current message

    def enabled(self) -> bool:
        """Wsproto asks."""
        return True

    def offer(self) -> bool:
        """Not to the peer."""
        return False

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """What is wrong with it, or that no reserved bit is used."""
        if opcode is Opcode.TEXT:
            self.broken = "expected binary messages, got a text"
            return CloseReason.UNSUPPORTED_DATA
        if not opcode.iscontrol():
            self._size = payload_length + (self._size if opcode is Opcode.CONTINUATION else 0)
            if self._size > MAX_MESSAGE_SIZE:
                self.broken = f"expected messages of at most {MAX_MESSAGE_SIZE} bytes, got one of {self._size} or more"
                return CloseReason.MESSAGE_TOO_BIG
        return RsvBits(False, False, False)


@attrs.define
class _OneTask:
    """Around what one task may do at a time."""

    what: str
    busy: bool = False

    def __enter__(self) -> None:
        if self.busy:
            raise trio.BusyResourceError(f"another task is already {self.what} this stream")
        self.busy = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.busy = False


class WebSocketStream(trio.abc.HalfCloseableStream):
    """The stream over a WebSocket whose handshake is done. `answer_pings` runs beside it.

    `send_eof` closes more than our direction: the peer answers with its own close frame, and sends nothing more. It has
    many attributes because reading, writing, answering pings and closing share one protocol object.
    """

    def __init__(self, stream: trio.abc.Stream, side: ConnectionType, first: bytes, limits: Limits) -> None:
        self._stream = stream
        self._transport = transport_over(stream)
        self._rules = _Rules()
        self._protocol = Protocol(side, [self._rules], first)
        self._close_timeout = limits.goodbye_timeout
        self._costs = Costs()
        self._judge = Judge(limits)
        self._close_code: int = CloseReason.NORMAL_CLOSURE
        self._closed = False
        self._end: str | None = None  # nothing more comes; empty, or what was wrong
        self._received = b""
        self._receiver = _OneTask("receiving from")
        self._sender = _OneTask("sending to")
        self._writing = trio.Lock()
        self._cut_off = False  # a write was, or may have been, stopped in the middle of a frame
        self._pong: bytes | None = None
        self._pinged = trio.lowlevel.ParkingLot()

    def __repr__(self) -> str:
        return f"<WebSocketStream over {self._transport!r}>"

    @property
    def flooded(self) -> bool:
        """Whether the peer has sent too many frames that bring nothing."""
        return self._close_code == CloseReason.POLICY_VIOLATION

    @property
    def confidential(self) -> bool:
        """Whether the stream below is TLS, or a unix socket."""
        return self._transport.confidential

    @property
    def credentials(self) -> Credentials:
        """What the stream below shows of the peer."""
        return self._transport.credentials

    @property
    def transport_stream(self) -> trio.abc.Stream:
        """The socket, below TLS too; or whatever is in its place."""
        below: trio.abc.Stream = getattr(self._stream, "transport_stream", self._stream)
        return below

    # Receiving

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes; empty at the end, which is the peer's close frame or the end of the stream below.

        `BrokenResourceError` if the peer broke the protocol of WebSocket, or closed with a code that tells a fault.
        Cancelling loses nothing.
        """
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError(f"max_bytes: expected at least 1, got {max_bytes}")
        with self._receiver:
            self._check_not_closed()
            await trio.lowlevel.checkpoint_if_cancelled()
            waited = False
            while not self._received and self._end is None:
                if not self._take_next_event():
                    self._feed(await self._receive(max_bytes))
                    waited = True
                elif not self._received:  # however many there are that bring nothing, other tasks have their turn
                    await trio.sleep(self._judge.pause)
            if self._received:
                if not waited:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                size = len(self._received) if max_bytes is None else max_bytes
                data, self._received = self._received[:size], self._received[size:]
                return data
        await trio.lowlevel.checkpoint()
        if self._end:
            raise trio.BrokenResourceError(self._end)
        return b""

    async def _receive(self, max_bytes: int | None) -> bytes:
        try:
            chunk = await self._transport.receive(READ_SIZE if max_bytes is None else min(max_bytes, READ_SIZE))
        except OSError as error:
            self._check_not_closed()
            raise trio.BrokenResourceError(str(error)) from error
        self._check_not_closed()
        return chunk

    def _feed(self, chunk: bytes) -> None:
        if chunk:
            self._protocol.receive_data(chunk)
        else:
            self._end = ""

    def _take_next_event(self) -> bool:
        """Whether there was one. One at a time: a close frame is looked at when what came before it has been taken."""
        match next(self._protocol.events(), None):
            case None:
                return False
            case BytesMessage(data=data) if data:
                self._received = bytes(data)
            case Ping(payload=payload):
                self._pong = bytes(payload)
                self._pinged.unpark()
                self._count_useless()
            case CloseConnection(code=code, reason=text):
                self._take_close(code, text or "")
            case _:
                self._count_useless()
        return True

    def _count_useless(self) -> None:
        """Slows down a peer that floods; then tells it, and reads no more of it."""
        self._costs.useless += 1
        error = self._judge.look(self._costs, trio.current_time())
        if self._end is None and error is not None:
            self._close_code = CloseReason.POLICY_VIOLATION
            self._end = str(error)

    def _take_close(self, code: int, text: str) -> None:
        if self._protocol.state not in (ConnectionState.REMOTE_CLOSING, ConnectionState.CLOSED):
            self._close_code = code  # wsproto's judgement
            self._end = self._rules.broken or f"expected what WebSocket allows, got: {text}"
        elif code in _ORDERLY:
            self._end = ""
        else:
            self._end = f"the peer closed the WebSocket, with code {code:d} ({text or 'no reason'})"

    # Sending

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Sends all of it. If it is cancelled, nothing can be sent any more."""
        with self._sender, memoryview(data) as view:
            self._check_not_closed()
            if self._protocol.state is ConnectionState.LOCAL_CLOSING:
                raise trio.ClosedResourceError("expected a stream to write to, got one whose end was sent")
            if not view:
                await trio.lowlevel.checkpoint()
                self._check_can_write()
            for start in range(0, len(view), MESSAGE_SIZE):
                await self._write(BytesMessage(bytes(view[start : start + MESSAGE_SIZE])))

    async def wait_send_all_might_not_block(self) -> None:
        """As of the stream below."""
        with self._sender:
            self._check_not_closed()
            self._check_can_write()
            await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Sends a close frame, with code 1000; the peer will answer with its own."""
        with self._sender:
            self._check_not_closed()
            await self._write_close()

    async def _write_close(self) -> None:
        if self._protocol.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            await self._write(CloseConnection(self._close_code, self._end if self.flooded else None))
        else:
            await trio.lowlevel.checkpoint()

    async def _write(self, event: Event) -> None:
        async with self._writing:
            self._check_can_write()
            try:
                frame = self._protocol.send(event)
            except LocalProtocolError as error:
                raise trio.BrokenResourceError("the peer has closed the WebSocket") from error
            self._cut_off = True
            try:
                await self._transport.send_all([frame])
            except OSError as error:
                self._check_not_closed()
                raise trio.BrokenResourceError(str(error)) from error
            self._cut_off = False

    def _check_can_write(self) -> None:
        if self._cut_off:
            raise trio.BrokenResourceError("expected a stream to write to, got one on which a write was cut off")

    def _check_not_closed(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("expected an open stream, got one that was closed here")

    async def answer_pings(self) -> None:
        """Answers the last ping that came, until the stream is closed.

        An answer that has begun is finished, even if this is cancelled: whoever cancels it closes the stream too.
        """
        while True:
            if self._pong is None:
                await self._pinged.park()
            payload, self._pong = self._pong or b"", None
            with trio.CancelScope(shield=True):
                try:
                    await self._write(Pong(payload))
                except STREAM_ERRORS:
                    return

    # Closing

    async def refuse(self, code: int) -> None:
        """Closes it, and tells the peer by this code why."""
        self._close_code = code
        await self.aclose()

    async def aclose(self) -> None:
        """Sends a close frame, unless that is done or another task is writing, and waits for the peer's, at most
        `close_timeout`; then closes the stream below. Cancelled, it closes that at once."""
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        try:
            if not (self._cut_off or self._writing.locked()):
                with trio.move_on_after(self._close_timeout), contextlib.suppress(*STREAM_ERRORS):
                    await self._exchange_close_frames()
        finally:
            with trio.move_on_after(self._close_timeout):
                await self._transport.aclose()

    async def _exchange_close_frames(self) -> None:
        await self._write_close()
        if self._receiver.busy:
            return
        while self._end is None:
            if self._take_next_event():
                self._received = b""
                await trio.lowlevel.checkpoint()
            else:
                self._feed(await self._transport.receive())
        # Where no close frame can be expected, the peer is heard to its end: a reset would destroy ours on its way.
        while self._protocol.state is not ConnectionState.CLOSED and await self._transport.receive():
            await trio.lowlevel.checkpoint_if_cancelled()  # also if each read finds something


_ORDERLY = {CloseReason.NORMAL_CLOSURE, CloseReason.GOING_AWAY, CloseReason.NO_STATUS_RCVD}


@contextlib.asynccontextmanager
async def _answering_pings(stream: WebSocketStream) -> AsyncGenerator[None]:
    """Has pings answered meanwhile, and closes the stream. What leaves the block stays as it is (no group)."""
    error: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.answer_pings)
        try:
            yield
        except BaseException as exception:  # raised below, when nothing of the nursery runs any more
            error = exception
        with trio.CancelScope(shield=True):  # it does not wait, and would lose the error if it were cancelled
            await trio.aclose_forcefully(stream)
        nursery.cancel_scope.cancel()
    if error is not None:
        raise error


@attrs.frozen
class Acceptor:
    """Has each stream that a client opens become a WebSocket, and `serve` it. Whatever the client does, it does not
    raise; why it was refused is logged."""

    serve: Callable[[trio.abc.Stream], Awaitable[None]]
    origins: frozenset[str] | None
    limits: Limits
    log: BoundedLog
    reached: Callable[[str], None]
    """Is told the name of a limit that a client has reached."""

    async def __call__(self, stream: trio.abc.Stream) -> None:
        """Serves the client at the other end of this stream, which is closed then."""
        transport = transport_over(stream)
        try:
            first = await self._accept(transport, secure=isinstance(stream, trio.SSLStream))
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        if first is None:
            with trio.move_on_after(self.limits.goodbye_timeout):
                await transport.aclose()
            return
        opened = WebSocketStream(stream, ConnectionType.SERVER, first, self.limits)
        try:
            async with _answering_pings(opened):
                await self.serve(opened)
        finally:
            if opened.flooded:
                self.reached("max_useless_frames")

    async def _accept(self, transport: Transport, *, secure: bool) -> bytes | None:
        """The bytes behind the client's request; None if nothing came of it."""
        peer_name = transport.peer_name
        timeout = self.limits.handshake_timeout
        try:
            with trio.move_on_after(timeout):
                return await accept(transport, self.origins, secure=secure)
            why = f"expected the handshake of a WebSocket within {timeout:g} s, got none"
        except Refused as refusal:
            with trio.move_on_after(self.limits.goodbye_timeout), contextlib.suppress(*STREAM_ERRORS):
                await refuse(transport, refusal)
            why = str(refusal)
        except Unfit as error:
            why = str(error)
        except STREAM_ERRORS as error:
            why = f"expected the handshake of a WebSocket, got: {reason(error)}"
        except Exception:
            self.log.exception("the connection with %s ended", peer_name)
            return None
        self.log.warning("the connection with %s ended: %s", peer_name, why)
        return None


def dial(url: str, ssl_context: ssl.SSLContext | None, limits: Limits) -> Dial:
    """Over WebSocket. `ValueError` for another URL, or a context that does not go with it."""
    address = parse_url(url)
    if ssl_context is not None:
        check_ssl_context(ssl_context, server=False)
        if not address.secure:
            raise ValueError(f"expected a URL with wss:// where there is an `ssl_context`, got {url!r}")

    @contextlib.asynccontextmanager
    async def connect() -> AsyncGenerator[trio.abc.Stream]:
        async with contextlib.AsyncExitStack() as stack:
            with operation("connect", address=url):
                stream = await open_tcp_stream(address.host, address.port, limits.handshake_timeout)
                if address.secure:
                    context = ssl_context or ssl.create_default_context()
                    stream = trio.SSLStream(stream, context, server_hostname=address.host)
                websocket = await stack.enter_async_context(connected(stream, address, limits))
            yield websocket

    return connect


@contextlib.asynccontextmanager
async def connected(stream: trio.abc.Stream, address: Address, limits: Limits) -> AsyncGenerator[WebSocketStream]:
    """A WebSocket to the server at the other end of this stream, which is closed at the end of the block.

    `ConnectionLostError` or `ProtocolError` if nothing comes of it.
    """
    try:
        opened = await _connect(stream, address, limits)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    async with _answering_pings(opened):
        yield opened


async def _connect(stream: trio.abc.Stream, address: Address, limits: Limits) -> WebSocketStream:
    timeout = limits.handshake_timeout
    try:
        with trio.fail_after(timeout):
            first, subprotocol = await connect(transport_over(stream), address)
    except trio.TooSlowError:
        raise ConnectionLostError(f"{address}: expected a WebSocket within {timeout:g} s, got none") from None
    except Unfit as error:
        raise ProtocolError(f"{address}: {error}") from error
    except STREAM_ERRORS as error:
        raise ConnectionLostError(f"{address}: expected a WebSocket, got: {reason(error)}") from error
    opened = WebSocketStream(stream, ConnectionType.CLIENT, first, limits)
    if subprotocol != SUBPROTOCOL:
        await opened.refuse(CloseReason.PROTOCOL_ERROR)
        raise ProtocolError(f"{address}: expected the subprotocol {SUBPROTOCOL}, got {subprotocol or 'none'}")
    return opened
