"""Publishing: the calls of an exporter that take ends of channels, whatever carries the values from there."""

from __future__ import annotations

from typing import Any, TypeVar, overload

import trio
from typing_extensions import TypeForm

from ._arguments import check_dead_letters, check_own_name, codec_of, direction_of, whole_number
from ._channels.outgoing import Outgoing
from ._codec import Codec
from ._endpoint import Endpoint
from ._errors import ChannelNameInUseError
from ._statistics import Direction

__all__ = ["Publishing"]

T = TypeVar("T")


class Publishing(Endpoint):
    """What all exporters have in common. Not public: `Exporter` is one.

    Longer than other classes because it is the public contract: most of it are signatures and docstrings.
    """

    # Channels

    @overload
    def export(
        self,
        name: str,
        end: trio.abc.SendChannel[T] | trio.abc.ReceiveChannel[T],
        value_type: TypeForm[T],
        *,
        direction: Direction | None = None,
        window: int = 64,
        importers: int | None = 1,
        dead_letters: trio.abc.SendChannel[T] | None = None,
    ) -> None: ...
    @overload
    def export(
        self,
        name: str,
        end: trio.abc.SendChannel[Any] | trio.abc.ReceiveChannel[Any],
        *,
        direction: Direction | None = None,
        window: int = 64,
        importers: int | None = 1,
        dead_letters: trio.abc.SendChannel[Any] | None = None,
    ) -> None: ...
    def export(
        self,
        name: str,
        end: Any,
        value_type: Any = Any,
        *,
        direction: Direction | None = None,
        window: int = 64,
        importers: int | None = 1,
        dead_letters: Any = None,
    ) -> None:
        """Publishes one end of a channel, whose other end the caller keeps. The end belongs to the exporter from now
        on.

        A receive end is sent from: its values go to importers, each to one of them. A send end is received into: values
        of importers arrive there; it is closed when at least `importers` imports have bound the name and all have
        finished (None: only by hang-up). `window`: how many values may be unacknowledged with each importer.

        `dead_letters`, where this side sends: gets the values that importers have refused, rejected or left unsettled
        more than `max_redeliveries` times, which are dropped otherwise. It belongs to the exporter, too, and is closed
        when the channel is over. Nothing waits for it, drain neither: values that it does not take wait in memory.

        `ChannelNameInUseError` if the name is exported already, unless that channel has ended and all of it is
        delivered; `ValueTypeError` for a type that cannot be carried; `TypeError` for an end that is none; `ValueError`
        for `dead_letters` of a channel that is received into.
        """
        check_own_name(name)
        self._check_binds()
        whole_number("window", window, None)
        if importers is not None:
            whole_number("importers", importers, 1)
        direction = direction_of(name, end, direction)
        check_dead_letters(name, dead_letters, direction)
        codec = codec_of(name, value_type)
        self._make_room(name)
        if direction is Direction.SEND:
            self._export_outgoing(name, end, codec, window, dead_letters)
        else:
            self._export_incoming(name, end, codec, window, importers)

    @overload
    def open_send_channel(
        self,
        name: str,
        value_type: TypeForm[T],
        *,
        max_buffer_size: float = 0,
        dead_letters: trio.abc.SendChannel[T] | None = None,
    ) -> trio.MemorySendChannel[T]: ...
    @overload
    def open_send_channel(
        self, name: str, *, max_buffer_size: float = 0, dead_letters: trio.abc.SendChannel[Any] | None = None
    ) -> trio.MemorySendChannel[Any]: ...
    def open_send_channel(
        self, name: str, value_type: Any = Any, *, max_buffer_size: float = 0, dead_letters: Any = None
    ) -> trio.MemorySendChannel[Any]:
        """Opens a memory channel, publishes it, and returns the end that sends to importers. Else as `export`.

        `max_buffer_size` is in values, as in `trio.open_memory_channel`. The importers choose the window.
        """
        check_own_name(name)
        self._check_binds()
        check_dead_letters(name, dead_letters, Direction.SEND)
        codec = codec_of(name, value_type)
        send, receive = trio.open_memory_channel[Any](max_buffer_size)
        try:
            self._make_room(name)
        except ChannelNameInUseError:
            send.close()
            receive.close()
            raise
        self._export_outgoing(name, receive, codec, self._limits.max_window, dead_letters)
        return send

    @overload
    def open_receive_channel(
        self,
        name: str,
        value_type: TypeForm[T],
        *,
        max_buffer_size: float = 0,
        window: int = 64,
        importers: int | None = 1,
    ) -> trio.MemoryReceiveChannel[T]: ...
    @overload
    def open_receive_channel(
        self, name: str, *, max_buffer_size: float = 0, window: int = 64, importers: int | None = 1
    ) -> trio.MemoryReceiveChannel[Any]: ...
    def open_receive_channel(
        self,
        name: str,
        value_type: Any = Any,
        *,
        max_buffer_size: float = 0,
        window: int = 64,
        importers: int | None = 1,
    ) -> trio.MemoryReceiveChannel[Any]:
        """Opens a memory channel, publishes it, and returns the end where values of importers arrive. As `export`.

        When the block is over and the channel is not, the end raises `ClosedResourceError`. A `clone()` of it is the
        program's own: it would wait.
        """
        send, receive = trio.open_memory_channel[Any](max_buffer_size)
        try:
            self.export(name, send, value_type, window=window, importers=importers)
        except BaseException:
            send.close()
            receive.close()
            raise
        self._opened[self._registry.bound(name)] = receive
        return receive

    def _make_room(self, name: str) -> None:
        """Frees the name of a channel that has finished, with all of it delivered."""
        old = self._registry.get(name)
        if isinstance(old, Outgoing) and old.sender_closed:
            if not old.delivered:
                raise ChannelNameInUseError(
                    f"{name}: expected a name that is free, got one that has finished with values not delivered yet",
                    channel=name,
                )
            self._registry.retire(old, "it has finished")  # it tells its importers the end without its name
            self._give_up(old)
            self._sweep(old)
        self._registry.check_free(name)

    def _export_outgoing(self, name: str, end: Any, codec: Codec[Any], window: int, dead_letters: Any) -> None:
        """Starts a channel that sends."""
        raise NotImplementedError

    def _export_incoming(self, name: str, end: Any, codec: Codec[Any], window: int, importers: int | None) -> None:
        """Starts a channel that receives."""
        raise NotImplementedError

    def _give_up(self, channel: Outgoing[Any]) -> None:
        """Ends a channel that has neither a name nor an importer any more."""
        if self._registry.is_retired(channel) and not channel.links:
            channel.abandon("no importer is left")
