"""Requests and replies over channels: each client gets the replies to its own requests, and to nobody else's.

Built of public channels only. All clients send into one channel, `name`; each has a channel of its own for replies,
`name/` and 128 random bits that the client chooses: nobody guesses another's. What goes over them::

    Call       "open"      the client wants its channel for replies; when this is acknowledged, it is there
               "request"   with a number and a value
               "cancel"    nobody waits for the reply to this number any more
               "leave"     the client is done
    Reply      the number, and the value or an error

A request is handled once, or not at all: a connection that breaks and comes back loses and repeats nothing. When the
server is lost with its process, it is not known whether requests that wait for a reply were handled.
"""

from __future__ import annotations

import contextlib
import math
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Literal, TypeVar

import attrs
import trio
from typing_extensions import TypeForm

from ._errors import NetchanError, NoSuchChannelError
from ._exporter import Exporter
from ._importer import Importer
from ._log import BoundedLog
from ._opening import Opening
from ._peers import PeerEventsLost, PeerGone

__all__ = ["Call", "Client", "Reply", "RequestError", "open_client", "serve_requests"]

Q = TypeVar("Q")
R = TypeVar("R")

MOST_LOG_LINES = 10  # a second
OPEN_TIMEOUT = 30.0  # seconds in which a client that has asked for its channel must have bound it
SWEEP_PAUSE = 0.1  # seconds at least between two looks for clients that are gone


class RequestError(NetchanError):
    """The server could not do what was asked. A handler raises it to tell its client why."""


@attrs.frozen
class Call(Generic[Q]):
    """What a client says."""

    client: str
    """Its secret: 32 hexadecimal digits."""
    what: Literal["open", "request", "cancel", "leave"]
    number: int = 0
    """Of a request, counted by the client."""
    value: list[Q] = attrs.field(factory=list[Q])
    """Of a request: one."""


@attrs.frozen
class Reply(Generic[R]):
    """What the server answers."""

    number: int
    value: list[R] = attrs.field(factory=list[R])
    """One; none if there is an error."""
    error: str | None = None


# The server


async def serve_requests(
    exporter: Exporter,
    name: str,
    handler: Callable[[Q], Awaitable[R]],
    request_type: TypeForm[Q],
    reply_type: TypeForm[R],
    *,
    max_concurrent: int = 64,
    max_requests_per_client: int = 64,
    max_clients: int = 1_000,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answers requests with what `handler` returns, until cancelled or the exporter's block is left.

    At most `max_concurrent` handlers run at a time; more requests wait, at most `max_requests_per_client` of each
    client in all, which is told so when it sends more; one that goes on is hung up. No more than `max_clients` are let
    in. A handler is cancelled when its client cancels the request, or is gone.

    What a handler raises never ends the server: the client is told the text of a `RequestError`, and of any other
    exception the name of its class; that one is logged. A reply that does not fit `reply_type` is a mistake of the
    program, as any value that does not fit is, and makes the exporter's block raise `ValueTypeError`.

    It exports `name` and one name for each client, and raises what `export` does. Cancelled, it hangs them up.
    """
    calls = exporter.open_receive_channel(name, _of(Call, request_type), importers=None)
    async with trio.open_nursery() as nursery:
        server = _Server(
            exporter=exporter,
            name=name,
            handler=handler,
            reply_type=_of(Reply, reply_type),
            nursery=nursery,
            slots=trio.Semaphore(max_concurrent),
            max_requests=max_requests_per_client,
            max_clients=max_clients,
        )
        await server.run(calls, task_status)


def _of(generic: Any, value_type: Any) -> Any:
    return generic[value_type]


def _hang_up(exporter: Exporter, name: str) -> None:
    with contextlib.suppress(NetchanError, trio.ClosedResourceError):  # it is gone already, or the block has failed
        exporter.hangup(name)


@attrs.define(eq=False)
class _ServedClient(Generic[R]):
    """A client, as its server sees it."""

    channel: str
    replies: trio.MemorySendChannel[Reply[R]]
    opened: float = attrs.field(factory=trio.current_time)
    bound: bool = False
    """It has been seen at its channel for replies."""
    running: dict[int, trio.CancelScope] = attrs.field(factory=dict[int, trio.CancelScope])


@attrs.define(eq=False, kw_only=True)
class _Server(Generic[Q, R]):
    """The clients, and what is being done for them."""

    exporter: Exporter
    name: str
    handler: Callable[[Q], Awaitable[R]]
    reply_type: Any
    nursery: trio.Nursery
    slots: trio.Semaphore
    max_requests: int
    max_clients: int
    _clients: dict[str, _ServedClient[R]] = attrs.field(factory=dict[str, _ServedClient[R]], init=False)
    _to_look: trio.Event = attrs.field(factory=trio.Event, init=False)
    _log: BoundedLog = attrs.field(factory=lambda: BoundedLog(MOST_LOG_LINES), init=False)

    async def run(self, calls: trio.MemoryReceiveChannel[Call[Q]], task_status: trio.TaskStatus[None]) -> None:
        """Serves until cancelled, or the exporter's block is left."""
        self.nursery.start_soon(self._notice_who_goes)
        self.nursery.start_soon(self._forget_who_is_gone)
        task_status.started()
        try:
            with contextlib.suppress(trio.ClosedResourceError):
                async for call in calls:
                    self._take(call)  # without a checkpoint: what is acknowledged is done
        finally:
            for secret in list(self._clients):
                self._forget(secret)
            _hang_up(self.exporter, self.name)
            self.nursery.cancel_scope.cancel()

    def _take(self, call: Call[Q]) -> None:
        """What a client says. Nothing that it says can raise here."""
        client = self._clients.get(call.client)
        if call.what == "open":
            self._open(call.client)
        elif client is None:
            pass  # hung up, or never let in: it sees that at its channel for replies
        elif call.what == "request" and len(call.value) == 1 and call.number not in client.running:
            self._accept(client, call)
        elif call.what == "cancel" and call.number in client.running:
            client.running[call.number].cancel()
        elif call.what == "leave":
            self._forget(call.client)

    def _open(self, secret: str) -> None:
        if secret in self._clients or not re.fullmatch("[0-9a-f]{32}", secret, re.ASCII):
            return
        if len(self._clients) >= self.max_clients:
            self._log.warning("requests %r: expected at most %d clients, got one more", self.name, self.max_clients)
            return
        channel = f"{self.name}/{secret}"
        with contextlib.suppress(NetchanError, trio.ClosedResourceError):
            replies = self.exporter.open_send_channel(channel, self.reply_type)
            if not self._clients:
                self._to_look.set()  # to come back when it must have bound its channel
            self._clients[secret] = _ServedClient(channel, replies)

    def _accept(self, client: _ServedClient[R], call: Call[Q]) -> None:
        client.bound = True  # it asks only when it can be answered
        if len(client.running) >= 2 * self.max_requests:
            self._log.warning("requests %r: a client sends on and on beyond its %d", self.name, self.max_requests)
            self._forget(call.client)
            return
        scope = client.running[call.number] = trio.CancelScope()
        if len(client.running) > self.max_requests:
            self.nursery.start_soon(self._refuse, client, call.number, scope)
        else:
            self.nursery.start_soon(self._serve, client, call, scope)

    async def _refuse(self, client: _ServedClient[R], number: int, scope: trio.CancelScope) -> None:
        error = f"expected at most {self.max_requests} requests of a client at a time, got one more"
        with scope:
            await self._send(client, Reply(number, error=error))
        client.running.pop(number, None)

    async def _serve(self, client: _ServedClient[R], call: Call[Q], scope: trio.CancelScope) -> None:
        with scope:
            async with self.slots:  # not while it waits for the client to take the reply
                reply = await self._handle(call)
            await self._send(client, reply)
        client.running.pop(call.number, None)

    async def _handle(self, call: Call[Q]) -> Reply[R]:
        try:
            return Reply(call.number, [await self.handler(call.value[0])])
        except RequestError as error:
            return Reply(call.number, error=str(error))
        except Exception as error:
            self._log.exception("requests %r: the handler raised", self.name)
            return Reply(call.number, error=f"the handler raised {type(error).__name__}")

    async def _send(self, client: _ServedClient[R], reply: Reply[R]) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # the client is gone
            await client.replies.send(reply)

    # Clients that go

    def _forget(self, secret: str) -> None:
        client = self._clients.pop(secret)
        for scope in client.running.values():
            scope.cancel()
        client.replies.close()
        _hang_up(self.exporter, client.channel)

    async def _notice_who_goes(self) -> None:
        async for event in self.exporter.peers():
            if isinstance(event, PeerGone | PeerEventsLost):
                self._to_look.set()

    async def _forget_who_is_gone(self) -> None:
        """Looks when somebody went, and now and then for clients that have never come to their channel."""
        while True:
            with trio.move_on_after(OPEN_TIMEOUT if self._clients else math.inf):
                await self._to_look.wait()
            self._to_look = trio.Event()
            self._look()
            await trio.sleep(SWEEP_PAUSE)

    def _look(self) -> None:
        channels = self.exporter.statistics().channels
        for secret, client in list(self._clients.items()):
            found = channels.get(client.channel)
            if found is not None and found.peers:
                client.bound = True
            elif client.bound or trio.current_time() > client.opened + OPEN_TIMEOUT:
                self._forget(secret)


# The client


def open_client(
    importer: Importer,
    name: str,
    request_type: TypeForm[Q],
    reply_type: TypeForm[R],
    *,
    max_concurrent: int = 16,
) -> AbstractAsyncContextManager[Client[Q, R]]:
    """Opens a client of the server of that name; use it with `async with`, and from as many tasks as you like.

    At most `max_concurrent` requests are under way at a time; more wait. An importer has one client of a name at a
    time. It raises what `Importer.import_` does, and `RequestError` if the server lets nobody else in. Leaving the
    block cancels what the server still does for it.
    """

    async def block() -> AsyncGenerator[Client[Q, R]]:
        secret = secrets.token_hex(16)
        calls: trio.MemorySendChannel[Call[Q]] = await importer.open_send_channel(
            name, _of(Call, request_type), max_buffer_size=2 * max_concurrent + 2
        )
        with calls:
            await calls.send(Call(secret, "open"))
            await importer.drain(name)
            try:
                replies: trio.MemoryReceiveChannel[Reply[R]] = await importer.open_receive_channel(
                    f"{name}/{secret}", _of(Reply, reply_type)
                )
            except NoSuchChannelError:
                raise RequestError(f"{name}: the server lets no more clients in", channel=name) from None
            with replies:
                try:
                    yield Client(name, secret, calls, replies, max_concurrent)
                finally:
                    _say(calls, Call(secret, "leave"))

    return Opening("open_client", block)


def _say(calls: trio.MemorySendChannel[Call[Q]], call: Call[Q]) -> None:
    """Without waiting. If there is no room for it, or nobody to hear it, the server finds out in another way."""
    with contextlib.suppress(trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
        calls.send_nowait(call)


@attrs.define(eq=False)
class Client(Generic[Q, R]):
    """Sends requests and waits for replies. Made by `open_client`.

    It has no task of its own: of the tasks that wait for replies, one at a time reads, for all.
    """

    _name: str
    _secret: str = attrs.field(repr=False)
    _calls: trio.MemorySendChannel[Call[Q]] = attrs.field(repr=False)
    _replies: trio.MemoryReceiveChannel[Reply[R]] = attrs.field(repr=False)
    _slots: trio.Semaphore = attrs.field(converter=trio.Semaphore, repr=False)
    _count: int = attrs.field(default=0, init=False, repr=False)
    _waiting: dict[int, Reply[R] | None] = attrs.field(factory=dict[int, "Reply[R] | None"], init=False, repr=False)
    _reading: bool = attrs.field(default=False, init=False, repr=False)
    _ended: bool = attrs.field(default=False, init=False, repr=False)
    _read: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False, repr=False)

    async def request(self, value: Q) -> R:
        """Sends a request and waits for its reply.

        `RequestError` if the server could not do it. `BrokenResourceError` if the server stops before it replies: it
        is not known then whether the request was handled; when the connection is lost, the importer's block raises,
        and cancels this. Cancelling it cancels the handler, if that has not finished. A value that does not fit makes
        the importer's block raise `ValueTypeError`, as anywhere.
        """
        async with self._slots:
            self._count += 1
            number = self._count
            self._waiting[number] = None
            try:
                await self._send(Call(self._secret, "request", number, [value]))
                try:
                    reply = await self._wait(number)
                except trio.Cancelled:
                    _say(self._calls, Call(self._secret, "cancel", number))
                    raise
            finally:
                del self._waiting[number]
        if reply.error is not None or not reply.value:
            raise RequestError(f"{self._name}: {reply.error}", channel=self._name)
        return reply.value[0]

    async def _send(self, call: Call[Q]) -> None:
        try:
            await self._calls.send(call)
        except trio.BrokenResourceError:
            raise trio.BrokenResourceError(f"{self._name}: the server has stopped") from None

    async def _wait(self, number: int) -> Reply[R]:
        while True:
            reply = self._waiting[number]
            if reply is not None:
                return reply
            if self._ended:
                why = f"{self._name}: the server has stopped; it may have handled the request"
                raise trio.BrokenResourceError(why)
            if self._reading:
                await self._read.park()
            else:
                await self._read_one()

    async def _read_one(self) -> None:
        """Takes the next reply, for whoever waits for it; one that nobody waits for any more is dropped."""
        self._reading = True
        try:
            reply = await self._replies.receive()
            if reply.number in self._waiting:
                self._waiting[reply.number] = reply
        except (trio.EndOfChannel, trio.ClosedResourceError):
            self._ended = True
        finally:
            self._reading = False
            self._read.unpark_all()
