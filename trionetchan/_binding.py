"""Binding: the calls of an importer that take ends of channels, whatever carries the values from there."""

from __future__ import annotations

import contextlib
from typing import Any, Literal, TypeVar, overload

import trio
from typing_extensions import TypeForm

from ._arguments import check_name, codec_of, direction_of, settles, whole_number
from ._channels.deliveries import Delivery
from ._channels.incoming import Incoming
from ._channels.outgoing import Outgoing
from ._channels.registry import Channel, in_use
from ._endpoint import Endpoint
from ._errors import Code, LimitError, NetchanError, RemoteValueError, TooManyErrors
from ._instruments import operation
from ._limits import Limits
from ._protocol.frames import MAX_COUNT
from ._rebinding import Wanted
from ._statistics import Direction

__all__ = ["Importing"]

T = TypeVar("T")


class Importing(Endpoint):
    """What all importers have in common. Not public: `Importer` is one.

    Longer than other classes because it is the public contract: most of it are signatures and docstrings.
    """

    _last_word = Code.RECEIVER_GONE  # what it has not acknowledged goes to other importers

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._asking: set[str] = set()  # names of imports that wait for an answer
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
        acknowledge: Literal["delivered"] = "delivered",
    ) -> None: ...
    @overload
    async def import_(
        self,
        name: str,
        end: trio.abc.SendChannel[Delivery[T]],
        value_type: TypeForm[T],
        *,
        direction: Direction | None = None,
        window: int = 64,
        count: int | None = None,
        acknowledge: Literal["manual"],
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
        acknowledge: Literal["delivered"] = "delivered",
    ) -> None: ...
    @overload
    async def import_(
        self,
        name: str,
        end: trio.abc.SendChannel[Delivery[Any]],
        *,
        direction: Direction | None = None,
        window: int = 64,
        count: int | None = None,
        acknowledge: Literal["manual"],
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
        acknowledge: Literal["delivered", "manual"] = "delivered",
    ) -> None:
        """Binds one end of a channel, whose other end the caller keeps, to a name of the exporter; waits for its
        answer.

        A send end is received into, a receive end is sent from. From its return on the end belongs to the importer.
        `window`: how many values may be unacknowledged; the smaller of the two sides' counts. `count`: after so many
        values the import ends as if finished; None is unbounded. `acknowledge`: "delivered", when the local end has a
        value; "manual", the end gets a `Delivery` of each, which the program settles with `ack` or `reject`. `window`
        and `count` are then of settled values; the end comes when no importer has an unsettled one any more.

        `NoSuchChannelError`, `PermissionDeniedError`, `WrongDirectionError`, `TypeMismatchError`,
        `ChannelNameInUseError` (bound by this importer already), `ValueTypeError` (a type that cannot be carried),
        `LimitError` (also for "manual" with an exporter of an older version), and what ends the connection.
        `ValueError` for "manual" where this side sends. Failed or cancelled, it withdraws and leaves the end to the
        caller, open.
        """
        direction = direction_of(name, end, direction)
        await self._import(name, end, direction, value_type, window, count, acknowledge)

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
            await self._import(name, receive, Direction.SEND, value_type, window, count)
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
        acknowledge: Literal["delivered"] = "delivered",
    ) -> trio.MemoryReceiveChannel[T]: ...
    @overload
    async def open_receive_channel(
        self,
        name: str,
        value_type: TypeForm[T],
        *,
        window: int = 64,
        count: int | None = None,
        max_buffer_size: float = 0,
        acknowledge: Literal["manual"],
    ) -> trio.MemoryReceiveChannel[Delivery[T]]: ...
    @overload
    async def open_receive_channel(
        self,
        name: str,
        *,
        window: int = 64,
        count: int | None = None,
        max_buffer_size: float = 0,
        acknowledge: Literal["delivered"] = "delivered",
    ) -> trio.MemoryReceiveChannel[Any]: ...
    @overload
    async def open_receive_channel(
        self,
        name: str,
        *,
        window: int = 64,
        count: int | None = None,
        max_buffer_size: float = 0,
        acknowledge: Literal["manual"],
    ) -> trio.MemoryReceiveChannel[Delivery[Any]]: ...
    async def open_receive_channel(
        self,
        name: str,
        value_type: Any = Any,
        *,
        window: int = 64,
        count: int | None = None,
        max_buffer_size: float = 0,
        acknowledge: Literal["delivered", "manual"] = "delivered",
    ) -> trio.MemoryReceiveChannel[Any]:
        """Opens a memory channel, binds it to the name, and returns the end where values arrive. Else as `import_`.

        When the block is over and the channel is not, the end raises `ClosedResourceError`. A `clone()` of it is the
        program's own: it would wait.
        """
        send, receive = trio.open_memory_channel[Any](max_buffer_size)
        try:
            channel = await self._import(name, send, Direction.RECEIVE, value_type, window, count, acknowledge)
        except BaseException:
            send.close()
            receive.close()
            raise
        self._opened[channel] = receive
        return receive

    async def _import(
        self,
        name: str,
        end: Any,
        direction: Direction,
        value_type: Any,
        window: int,
        count: int | None,
        acknowledge: str = "delivered",
    ) -> Channel:
        check_name(name)
        whole_number("window", window, None)
        if count is not None:
            whole_number("count", count, 0, MAX_COUNT)
        manual = settles(name, acknowledge, direction)
        wanted = Wanted(name, end, direction, codec_of(name, value_type), max(1, window), count, manual)
        self._check_binds()
        with operation("import", channel=name), self._call():
            self._check_name_free(name)
            self._asking.add(name)
            try:
                return await self._bind_name(wanted)
            finally:
                self._asking.discard(name)
        raise AssertionError("a call that was ended has raised")

    async def _bind_name(self, wanted: Wanted) -> Channel:
        """Asks for a name and binds the end."""
        raise NotImplementedError

    def _lost(self, name: str) -> NetchanError:
        """What is raised of a channel whose exporter cannot be reached any more."""
        raise NotImplementedError

    def _check_name_free(self, name: str) -> None:
        old = self._registry.get(name)
        if isinstance(old, Outgoing) and old.sender_closed:
            self._registry.retire(old, "it has finished")  # it goes on without its name
        if name in self._asking:
            raise in_use(name)
        self._registry.check_free(name)

    def _channel_for(self, wanted: Wanted) -> Channel:
        if wanted.direction is Direction.RECEIVE:
            return Incoming(wanted.name, wanted.end, wanted.codec, window=wanted.window, importers=1, owner=self._owner)
        return Outgoing(
            wanted.name,
            wanted.end,
            wanted.codec,
            window=wanted.window,
            count=wanted.count,
            limits=self._limits,
            owner=self._owner,
        )

    async def _run_channel(self, channel: Channel) -> None:
        await super()._run_channel(channel)
        self._registry.retire(channel, "it has ended")
        self._sweep(channel)

    def _on_receiver_left(self, channel: Outgoing[Any], code: Code | None, message: str) -> None:
        """The exporter has said its last word on a sending channel, or is lost."""
        name = channel.name
        self._registry.retire(channel, "it has ended")
        if not channel.ended and not channel.complete and code is not Code.COUNT_REACHED:
            if code is None:  # its end stays as it is until the body has unwound
                self._fail(self._lost(name))
            else:
                undelivered = channel.waiting
                channel.abandon(message, by_peer=True)
                kind, what = _BREAKS.get(code, (NetchanError, "the exporter closed it"))
                detail = f" ({message})" if message else ""
                self._tell(kind(f"{name}: {what}{detail}; {undelivered} values were not delivered", channel=name))
        self._sweep(channel)

    def _on_sender_left(self, name: str, code: Code | None, message: str) -> None:
        """The exporter is done with a receiving channel; only in an orderly way is that an end."""
        if code is None:
            self._fail(self._lost(name))
        elif code is Code.VALUE_REFUSED:
            self._fail(RemoteValueError(message, channel=name))
        elif code is Code.LIMIT:
            self._fail(LimitError(message, channel=name))

    def _tell(self, error: NetchanError) -> None:
        """Why a sender of this program gets a bare `BrokenResourceError`."""
        self._log.warning("%s", error)
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


_BREAKS: dict[Code, tuple[type[NetchanError], str]] = {
    Code.HUNG_UP: (NetchanError, "hung up by the exporter"),
    Code.RECEIVER_GONE: (NetchanError, "the exporter's receiver is gone"),
    Code.VALUE_REFUSED: (RemoteValueError, "the exporter refused a value"),
    Code.LIMIT: (LimitError, "a limit was reached"),
}
