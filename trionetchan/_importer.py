"""The side that connects to an exporter and binds ends of its own channels to the names there."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, overload

import attrs
import trio
from typing_extensions import TypeForm

from ._channels.incoming import Incoming, ReceiveLink
from ._channels.outgoing import Outgoing
from ._codec.codec import Codec
from ._endpoint import Channel, Endpoint, check_name, codec_of, direction_of, in_use, mismatch, whole_number
from ._errors import (
    Code,
    ConnectionLostError,
    LimitError,
    NetchanError,
    NoSuchChannelError,
    RemoteValueError,
    TooManyErrors,
    TypeMismatchError,
    WrongDirectionError,
)
from ._limits import Limits
from ._network.connection import Connection, Owner
from ._network.links import SendLink
from ._network.transport import check_ssl_context, is_out_of_files, out_of_files_error
from ._opening import Opening
from ._protocol.events import Accepted, Rejected
from ._protocol.frames import MAX_COUNT
from ._protocol.session import Role
from ._statistics import Direction, ImporterStatistics

__all__ = ["Importer", "open_importer", "open_tcp_importer", "open_unix_importer"]

T = TypeVar("T")

_REFUSALS: dict[Code, type[NetchanError]] = {
    Code.NO_SUCH_CHANNEL: NoSuchChannelError,
    Code.WRONG_DIRECTION: WrongDirectionError,
    Code.TYPE_MISMATCH: TypeMismatchError,
    Code.LIMIT: LimitError,
}


def open_importer(stream: trio.abc.Stream, *, limits: Limits = Limits()) -> AbstractAsyncContextManager[Importer]:  # noqa: B008
    """Opens an importer over a stream, which belongs to it from now on; use it with `async with`.

    Entering does not wait for the exporter; what is wrong shows at the first `import_`. Leaving normally waits, under
    the caller's cancel scope, until what was sent into channels that the program has closed is acknowledged; then it
    says goodbye, within `goodbye_timeout`. Sending ends that are still open then, and all when an exception leaves
    the block, count as crashed.

    The block's body is cancelled, and the block raises `ConnectionLostError` when the stream ends without a goodbye or
    the exporter leaves while a bound channel is unfinished; `ProtocolError` when it breaks the protocol;
    `RemoteValueError` when it sends what does not fit; `ValueTypeError` or `LimitError` when this program does;
    `TooManyErrors` when `errors` is left unread.
    """
    return Opening("open_importer", lambda: _block_over(stream, limits))


def open_tcp_importer(
    host: str,
    port: int,
    *,
    ssl_context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    limits: Limits = Limits(),  # noqa: B008
) -> AbstractAsyncContextManager[Importer]:
    """Connects over TCP, with TLS if there is an `ssl_context`, and opens an importer as `open_importer` does.

    `OSError` at once if nobody listens there, `ValueError` for an `ssl_context` that is made for servers.
    `server_hostname` is the name that the certificate must have; `host` unless told.
    """

    async def block() -> AsyncGenerator[Importer]:
        if ssl_context is not None:
            check_ssl_context(ssl_context, server=False)
        with _naming_lack_of_files():
            stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
        if ssl_context is not None:
            stream = trio.SSLStream(stream, ssl_context, server_hostname=server_hostname or host)
        async with open_importer(stream, limits=limits) as importer:
            yield importer

    return Opening("open_tcp_importer", block)


def open_unix_importer(
    path: str | os.PathLike[str],
    *,
    limits: Limits = Limits(),  # noqa: B008
) -> AbstractAsyncContextManager[Importer]:
    """Connects to a unix socket and opens an importer as `open_importer` does. `OSError` if nobody listens there."""

    async def block() -> AsyncGenerator[Importer]:
        with _naming_lack_of_files():
            stream = await trio.open_unix_socket(os.fspath(path))
        async with open_importer(stream, limits=limits) as importer:
            yield importer

    return Opening("open_unix_importer", block)


async def _block_over(stream: trio.abc.Stream, limits: Limits) -> AsyncGenerator[Importer]:
    importer = Importer(stream, limits)
    async with importer._block():  # pyright: ignore[reportPrivateUsage]
        yield importer


@contextlib.contextmanager
def _naming_lack_of_files() -> Generator[None]:
    """Where this process has no file descriptor left, trio says only that it could not connect."""
    try:
        yield
    except OSError as error:
        if is_out_of_files(error):
            raise out_of_files_error() from error
        raise


@attrs.define(eq=False)
class _Request:
    """An import that waits for the exporter's answer."""

    name: str
    end: Any
    direction: Direction
    codec: Codec[Any]
    window: int
    count: int | None
    opened: trio.MemoryReceiveChannel[Any] | None
    error: NetchanError | None = None
    answered: trio.Event = attrs.field(factory=trio.Event)

    def answer(self, error: NetchanError | None) -> None:
        self.error = error
        self.answered.set()


class Importer(Endpoint):
    """Binds ends of local channels to names of one exporter. Made by `open_importer` and its kin."""

    def __init__(self, stream: trio.abc.Stream, limits: Limits) -> None:
        super().__init__(limits)
        owner = Owner(on_answer=self._on_answer, on_tick=self._look_around, on_lost=self._on_lost)
        self._connection = Connection(stream, Role.IMPORTER, limits, owner)
        self._requests: dict[int, _Request] = {}
        self._report, self._errors = trio.open_memory_channel[NetchanError](limits.max_unread_errors)

    @property
    def errors(self) -> trio.MemoryReceiveChannel[NetchanError]:
        """Why sending channels of this importer broke; each exception has `.channel`.

        When more than `max_unread_errors` wait here unread, the importer shuts down: the block raises `TooManyErrors`.
        """
        return self._errors

    # Binding

    @overload
    async def import_(
        self,
        name: str,
        end: trio.abc.SendChannel[T] | trio.abc.ReceiveChannel[T],
        value_type: TypeForm[T],
        *,
        direction: Direction | None = None,
        window: int = 64,
        count: int | None = None,
    ) -> None: ...
    @overload
    async def import_(
        self,
        name: str,
        end: trio.abc.SendChannel[Any] | trio.abc.ReceiveChannel[Any],
        *,
        direction: Direction | None = None,
        window: int = 64,
        count: int | None = None,
    ) -> None: ...
    async def import_(
        self,
        name: str,
        end: Any,
        value_type: Any = Any,
        *,
        direction: Direction | None = None,
        window: int = 64,
        count: int | None = None,
    ) -> None:
        """Binds one end of a channel, whose other end the caller keeps, to a name of the exporter; waits for its
        answer.

        A send end is received into, a receive end is sent from. From its return on the end belongs to the importer.
        `window`: how many values may be unacknowledged; the smaller of the two sides' counts. `count`: after so many
        values the import ends as if finished; None is unbounded.

        `NoSuchChannelError`, `WrongDirectionError`, `TypeMismatchError`, `ChannelNameInUseError` (bound by this
        importer already), `ValueTypeError` (a type that cannot be carried), `LimitError`, and what ends the
        connection. Failed or cancelled, it withdraws and leaves the end to the caller, open.
        """
        direction = direction_of(name, end, direction)
        await self._import(name, end, direction, value_type, window, count, None)

    @overload
    async def open_send_channel(
        self,
        name: str,
        value_type: TypeForm[T],
        *,
        window: int = 64,
        count: int | None = None,
        max_buffer_size: float = 0,
    ) -> trio.MemorySendChannel[T]: ...
    @overload
    async def open_send_channel(
        self, name: str, *, window: int = 64, count: int | None = None, max_buffer_size: float = 0
    ) -> trio.MemorySendChannel[Any]: ...
    async def open_send_channel(
        self,
        name: str,
        value_type: Any = Any,
        *,
        window: int = 64,
        count: int | None = None,
        max_buffer_size: float = 0,
    ) -> trio.MemorySendChannel[Any]:
        """Opens a memory channel, binds it to the name, and returns the end that sends. Else as `import_`."""
        send, receive = trio.open_memory_channel[Any](max_buffer_size)
        try:
            await self._import(name, receive, Direction.SEND, value_type, window, count, None)
        except BaseException:
            send.close()
            receive.close()
            raise
        return send

    @overload
    async def open_receive_channel(
        self,
        name: str,
        value_type: TypeForm[T],
        *,
        window: int = 64,
        count: int | None = None,
        max_buffer_size: float = 0,
    ) -> trio.MemoryReceiveChannel[T]: ...
    @overload
    async def open_receive_channel(
        self, name: str, *, window: int = 64, count: int | None = None, max_buffer_size: float = 0
    ) -> trio.MemoryReceiveChannel[Any]: ...
    async def open_receive_channel(
        self,
        name: str,
        value_type: Any = Any,
        *,
        window: int = 64,
        count: int | None = None,
        max_buffer_size: float = 0,
    ) -> trio.MemoryReceiveChannel[Any]:
        """Opens a memory channel, binds it to the name, and returns the end where values arrive. Else as `import_`."""
        send, receive = trio.open_memory_channel[Any](max_buffer_size)
        try:
            await self._import(name, send, Direction.RECEIVE, value_type, window, count, receive)
        except BaseException:
            send.close()
            receive.close()
            raise
        return receive

    async def _import(
        self,
        name: str,
        end: Any,
        direction: Direction,
        value_type: Any,
        window: int,
        count: int | None,
        opened: trio.MemoryReceiveChannel[Any] | None,
    ) -> None:
        check_name(name)
        whole_number("window", window, None)
        if count is not None:
            whole_number("count", count, 0, MAX_COUNT)
        codec = codec_of(name, value_type)
        with self._call():
            self._check_name_free(name)
            if self._connection.lost:
                raise self._lost(name)
            request = _Request(name, end, direction, codec, max(1, window), count, opened)
            channel_id = self._connection.session.request(
                name,
                receives=direction is Direction.RECEIVE,
                window=request.window,
                count=count,
                schema=codec.schema.to_bytes(),
            )
            self._requests[channel_id] = request
            self._connection.flush()
            try:
                await request.answered.wait()
            finally:
                if self._requests.pop(channel_id, None) is not None and not self._connection.lost:
                    self._connection.session.close(channel_id, Code.WITHDRAWN)
                    self._connection.flush()
            if request.error is not None:
                raise request.error

    def _check_name_free(self, name: str) -> None:
        old = self._channels.get(name)
        if isinstance(old, Outgoing) and old.sender_closed:
            self._retire(old)  # it goes on without its name
        if any(request.name == name for request in self._requests.values()):
            raise in_use(name)
        super()._check_name_free(name)

    async def _run_channel(self, channel: Channel) -> None:
        await super()._run_channel(channel)
        self._retire(channel)
        self._sweep(channel)

    def _on_answer(self, answer: Accepted | Rejected) -> None:
        """The exporter has answered. What arrives on the channel from here on needs its local end: it is bound now."""
        request = self._requests.pop(answer.channel)
        if isinstance(answer, Rejected):
            error = _REFUSALS.get(answer.code, NetchanError)
            request.answer(error(answer.message, channel=request.name))
            return
        # An exporter has compared the types already; this is for one that does not.
        where = mismatch(request.codec.schema, answer.schema, own_sends=request.direction is Direction.SEND)
        if where is not None:
            self._connection.session.close(answer.channel, Code.WITHDRAWN)
            request.answer(TypeMismatchError(f"{request.name}: {where}", channel=request.name))
            return
        if request.direction is Direction.SEND:
            self._bind_outgoing(request, answer.channel)
        else:
            self._bind_incoming(request, answer.channel)
        request.answer(None)

    def _bind_outgoing(self, request: _Request, channel_id: int) -> None:
        channel = Outgoing(
            request.name,
            request.end,
            request.codec,
            window=request.window,
            count=request.count,
            limits=self._limits,
            on_failure=self._fail,
            on_detached=self._on_detached,
        )
        self._start_channel(channel)
        channel.attach(SendLink(channel, self._connection, channel_id))

    def _bind_incoming(self, request: _Request, channel_id: int) -> None:
        channel = Incoming(
            request.name,
            request.end,
            request.codec,
            window=request.window,
            importers=1,
            on_failure=self._fail,
            on_left=self._on_left,
            on_ended=self._on_ended,
        )
        if request.opened is not None:
            self._opened[channel] = request.opened
        self._start_channel(channel)
        channel.attach(ReceiveLink(channel, self._connection, channel_id))

    # What happens to channels

    def _on_detached(self, channel: Outgoing[Any], code: Code | None, message: str) -> None:
        """The exporter has said its last word on a sending channel, or is lost."""
        name = channel.name
        self._retire(channel)
        if not channel.ended and not (channel.finished and channel.settled):
            if code is None:  # its end stays as it is until the body has unwound
                self._fail(self._lost(name))
            else:
                undelivered = channel.statistics().waiting
                channel.abandon(message, by_peer=True)
                kind, what = _BREAKS.get(code, (NetchanError, "the exporter closed it"))
                detail = f" ({message})" if message else ""
                self._tell(kind(f"{name}: {what}{detail}; {undelivered} values were not delivered", channel=name))
        self._sweep(channel)

    def _on_left(self, channel: Incoming[Any], code: Code | None, message: str) -> None:
        """The exporter is done with a receiving channel; only in an orderly way is that an end."""
        name = channel.name
        if code is None:
            self._fail(self._lost(name))
        elif code is Code.VALUE_REFUSED:
            self._fail(RemoteValueError(message, channel=name))
        elif code is Code.LIMIT:
            self._fail(LimitError(message, channel=name))

    def _on_ended(self, channel: Incoming[Any], code: Code) -> None:
        self._retire(channel)

    def _tell(self, error: NetchanError) -> None:
        try:
            self._report.send_nowait(error)
        except trio.WouldBlock:
            waiting: list[NetchanError] = []
            with contextlib.suppress(trio.WouldBlock):
                while True:
                    waiting.append(self._errors.receive_nowait())
            limit = self._limits.max_unread_errors
            self._fail(
                TooManyErrors(
                    f"expected at most {limit} unread errors, got one more: {error}", errors=[*waiting, error]
                )
            )
        except trio.BrokenResourceError:
            pass  # the program has closed `errors`: it does not want to know

    # The connection

    def _start(self) -> None:
        self._nursery.start_soon(self._run_connection)

    async def _run_connection(self) -> None:
        await self._supervise(self._connection.run)
        if self._connection.failure is not None:
            self._fail(self._connection.failure)

    def _on_lost(self) -> None:
        requests, self._requests = self._requests, {}
        for request in requests.values():
            request.answer(self._lost(request.name))

    def _lost(self, name: str) -> NetchanError:
        failure = self._connection.failure
        if failure is not None:
            return failure
        return ConnectionLostError(
            f"{name}: expected the exporter to finish the channel, got its goodbye", channel=name
        )

    async def _say_goodbye(self) -> None:
        self._connection.leave()
        await self._connection.wait_over()
        self._report.close()

    def statistics(self) -> ImporterStatistics:
        """A snapshot: channels by name."""
        self._check_open()
        return ImporterStatistics(channels=self._channel_statistics())


_BREAKS: dict[Code, tuple[type[NetchanError], str]] = {
    Code.HUNG_UP: (NetchanError, "hung up by the exporter"),
    Code.RECEIVER_GONE: (NetchanError, "the exporter's receiver is gone"),
    Code.VALUE_REFUSED: (RemoteValueError, "the exporter refused a value"),
    Code.LIMIT: (LimitError, "a limit was reached"),
}
