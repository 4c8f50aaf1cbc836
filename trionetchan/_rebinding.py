"""What an importer does while its exporter restarts: it finds the next one, and binds all its channels anew.

An exporter that restarts has acknowledged all that it has delivered. So each channel goes on where it was: values that
the old exporter has not acknowledged are sent to the new one, first and in order, and counted imports ask for what is
left. The local ends stay as they are; the program notices a pause.

Two tasks do it. One carries streams: it connects until an exporter answers, then that is the importer's peer. The other
binds the channels, and goes on with the next peer when the session that it has begun with ends in another restart.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from ._channels.outgoing import Outgoing
from ._channels.registry import Channel
from ._codec import Codec, difference
from ._errors import (
    Code,
    ConnectionLostError,
    LimitError,
    NetchanError,
    NoSuchChannelError,
    PermissionDeniedError,
    ProtocolError,
    TypeMismatchError,
    WrongDirectionError,
)
from ._limits import Limits
from ._log import BoundedLog
from ._network import dialing
from ._network.connection import Connection
from ._network.links import Link, ReceiveLink, SendLink
from ._network.peer import Answer, Peer, Request
from ._network.transport import STREAM_ERRORS, reason
from ._statistics import Direction

__all__ = ["Binding", "OwnerOfBindings", "Rebinding", "Wanted", "attach", "check_schema", "refusal_of"]

_REFUSALS: dict[Code, type[NetchanError]] = {
    Code.NO_SUCH_CHANNEL: NoSuchChannelError,
    Code.WRONG_DIRECTION: WrongDirectionError,
    Code.TYPE_MISMATCH: TypeMismatchError,
    Code.LIMIT: LimitError,
    Code.PERMISSION_DENIED: PermissionDeniedError,
}


@attrs.frozen(eq=False)
class Wanted:
    """What an import is to bind."""

    name: str
    end: Any
    direction: Direction
    codec: Codec[Any]
    window: int
    count: int | None
    settles: bool

    def ask(self, peer: Peer, count: int | None) -> Request:
        """Asks this peer for it, for so many values."""
        return peer.request(
            self.name,
            receives=self.direction is Direction.RECEIVE,
            window=self.window,
            count=count,
            schema=self.codec.schema.to_bytes(),
            settles=self.settles,
        )


def refusal_of(answer: Answer, name: str) -> NetchanError:
    """The error that stands for an exporter's answer."""
    return _REFUSALS.get(answer.code, NetchanError)(answer.message, channel=name)


def attach(channel: Channel, link: Link) -> None:
    """Binds a channel to a link."""
    if isinstance(channel, Outgoing):
        assert isinstance(link, SendLink)
        channel.attach(link)
        link.attach(channel)
    else:
        assert isinstance(link, ReceiveLink)
        channel.attach(link)
        link.attach(channel, unbuffered=channel.unbuffered)


def _left(name: str) -> ConnectionLostError:
    message = f"{name}: expected the next exporter to bind the channel, got its goodbye"
    return ConnectionLostError(message, channel=name)


def check_schema(wanted: Wanted, answer: Answer) -> None:
    """`TypeMismatchError` if the two types do not fit. An exporter of another make may skip the comparison."""
    own, sends = wanted.codec.schema, wanted.direction is Direction.SEND
    where = difference(own, answer.schema) if sends else difference(answer.schema, own)
    if where is not None:
        told = where.told_to_sender() if sends else where.told_to_receiver()
        raise TypeMismatchError(f"{wanted.name}: {told}", channel=wanted.name)


@attrs.define(eq=False)
class Binding:
    """A channel that is bound, or is to be bound anew."""

    wanted: Wanted
    channel: Channel
    link: Link
    count: int | None
    """Of how many values, when it was bound last."""
    waits: bool = False
    """Whether it is being bound anew."""

    @property
    def lost(self) -> bool:
        """Whether its exporter is lost and had not said its last word."""
        channel = self.channel
        return not channel.ended and (not channel.links if isinstance(channel, Outgoing) else channel.orphaned)

    @property
    def left(self) -> int | None:
        """Of how many values it is to be bound anew."""
        if self.count is None:
            return None
        return self.count - (self.link.acknowledged if isinstance(self.link, SendLink) else self.link.received)


@attrs.frozen(kw_only=True)
class OwnerOfBindings:
    """The importer as its rebinding sees it, made of the importer's private methods."""

    log: BoundedLog
    peer: Callable[[], Peer]
    new_peer: Callable[[], Peer]
    """For a new session."""
    connect: Callable[[trio.abc.Stream, Peer], Connection]
    """Carries it over this stream."""
    adopt: Callable[[Peer, Connection], None]
    """This is the peer from now on."""
    failed: Callable[[BaseException], None]
    """Makes the block fail."""
    run: Callable[[Callable[[], Awaitable[None]]], None]
    """Runs a task in the background of the block."""


class Rebinding:
    """The bindings of one importer, and how they survive a restart of its exporter."""

    def __init__(self, limits: Limits, owner: OwnerOfBindings) -> None:
        self._limits = limits
        self._owner = owner
        self._bindings: dict[Channel, Binding] = {}
        self._rounds = 0  # restarts after which not all is bound yet
        self._deadline = 0.0
        self._last_failure = "nothing"
        self._changed = trio.Event()

    def add(self, binding: Binding) -> None:
        """A channel is bound."""
        if self._limits.restart_timeout:
            self._bindings[binding.channel] = binding

    def forget(self, channel: Channel) -> None:
        """A channel is finished with its exporter."""
        self._bindings.pop(channel, None)

    @property
    def active(self) -> bool:
        """Whether the exporter restarts, or not all channels are bound to the next one yet."""
        return self._owner.peer().restarting or self._rounds > 0

    @property
    def owes(self) -> bool:
        """Whether the next exporter is to get values, or to be told of an end."""
        return self.active and any(
            isinstance(channel, Outgoing) and binding.lost and (channel.waiting or channel.sender_closed)
            for channel, binding in self._bindings.items()
        )

    def _change(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def wait_settled(self) -> None:
        """Waits while it owes the next exporter something that is not bound to it yet."""
        while self.owes:
            await self._changed.wait()

    async def wait_for_peer(self) -> Peer:
        """The peer, or the next one if the exporter restarts."""
        while self._owner.peer().restarting:
            await self._changed.wait()
        return self._owner.peer()

    # Connecting

    async def carry(self, dial: dialing.Dial) -> bool:
        """Finds the next exporter, and carries the session with it over its first stream. Whether there was one."""
        self._begin()
        for pause in dialing.pauses():
            with trio.move_on_at(self._deadline) as attempt:
                await trio.sleep(pause)
                try:
                    async with dial() as stream:
                        if await self._try(stream, attempt):
                            return True
                except (*STREAM_ERRORS, ConnectionLostError, LimitError) as error:
                    if attempt.deadline == math.inf:
                        return True  # the end of a stream that has carried the session
                    self._last_failure = reason(error)
                    self._owner.log.info("the next exporter cannot be reached yet: %s", self._last_failure)
                except ProtocolError as error:
                    self._owner.failed(error)
                    return False
            if attempt.cancelled_caught:
                return False
        raise AssertionError("there is always one more pause")

    async def _try(self, stream: trio.abc.Stream, attempt: trio.CancelScope) -> bool:
        """Carries a session over this stream, until it has ended. Whether an exporter has answered."""
        peer = self._owner.new_peer()
        connection = self._owner.connect(stream, peer)
        adopted = False

        async def adopt() -> None:
            nonlocal adopted
            await connection.wait_greeted()
            adopted = True
            attempt.deadline = math.inf
            self._owner.adopt(peer, connection)
            self._change()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(adopt)
            await connection.run()
            nursery.cancel_scope.cancel()
        if not adopted and isinstance(peer.failure, NetchanError):
            raise peer.failure
        return adopted

    # Binding

    def _begin(self) -> None:
        time = self._limits.restart_timeout
        self._deadline = trio.current_time() + time
        self._owner.log.warning("the exporter restarts; the next one is waited for, for %g s", time)
        self._rounds += 1
        lost = [binding for binding in self._bindings.values() if binding.lost and not binding.waits]
        for binding in lost:
            binding.waits = True
        self._owner.run(lambda: self._bind_all(lost, self._deadline))

    async def _bind_all(self, bindings: list[Binding], deadline: float) -> None:
        began = trio.current_time()
        with trio.move_on_at(deadline) as scope:
            await self.wait_for_peer()
            async with trio.open_nursery() as nursery:
                for binding in bindings:
                    nursery.start_soon(self._bind, binding)
        if scope.cancelled_caught:
            message = f"expected the next exporter within {self._limits.restart_timeout:g} s, got: {self._last_failure}"
            self._owner.failed(ConnectionLostError(message))
            return
        self._rounds -= 1
        self._change()
        self._owner.log.warning("the next exporter has all channels after %.3f s", trio.current_time() - began)

    async def _bind(self, binding: Binding) -> None:
        """Binds a channel anew; tries again as long as the exporter has no such name."""
        for pause in dialing.pauses():
            await trio.sleep(pause)
            peer = await self.wait_for_peer()
            if binding.channel.ended:
                break
            if peer.lost:
                self._owner.failed(peer.failure or _left(binding.wanted.name))
                break
            request = binding.wanted.ask(peer, binding.left)
            try:
                await request.answered.wait()
                if self._take(binding, peer, request):
                    break
            except NetchanError as error:
                peer.withdraw(request)
                self._owner.failed(error)
                break
            except BaseException:
                peer.withdraw(request)
                raise
        binding.waits = False

    def _take(self, binding: Binding, peer: Peer, request: Request) -> bool:
        """Takes an answer. Whether there is no more to ask."""
        answer = peer.take(request)
        if answer is None or peer.lost:
            return False
        if binding.channel.ended:
            peer.withdraw(request)
            return True
        if answer.link is None:
            refusal = refusal_of(answer, binding.wanted.name)
            if answer.code is not Code.NO_SUCH_CHANNEL:
                raise refusal
            self._last_failure = str(refusal)
            return False
        check_schema(binding.wanted, answer)
        binding.count = binding.left
        binding.link = answer.link
        attach(binding.channel, answer.link)
        self._change()
        return True
