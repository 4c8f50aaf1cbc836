"""The engine, as one exporter or importer has it: its scripts, repeated while it cannot be reached; its inbox.

Every script may be repeated: it is made so that what was done already is not done again. So a call waits through a
restart, a promoted replica, a broken network and a memory that is full, for `outage_timeout` at most, and then raises.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import secrets
import ssl
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Any, cast

import attrs
import trio
from coredis import exceptions as coredis_errors
from coredis.retry import NoRetryPolicy

from .._errors import ConnectionLostError, NetchanError
from .clients import client_of
from .names import Keys, inbox
from .scripts import NAMES, source

__all__ = ["Engine", "EngineSettings", "open_engine"]

REPLY_TIMEOUT = 10.0  # seconds: what has not answered by then is taken for gone, and connected to anew
REPLICATION_TIMEOUT = 1000  # ms, in which replicas must have what was written; else it is written again

Argument = bytes | str | int

logger = logging.getLogger("trionetchan")


@attrs.frozen(kw_only=True)
class EngineSettings:
    """How an engine is used."""

    namespace: str
    lease: float
    """Seconds."""
    outage_timeout: float
    """Seconds."""
    replicas: int


class Engine:
    """The engine. Made by `open_engine`."""

    def __init__(self, client: Any, settings: EngineSettings) -> None:
        self.settings = settings
        self.id = secrets.token_hex(8)
        self.lease = max(1, round(settings.lease * 1000))
        """In ms, as scripts want it."""
        self.outages = 0
        """How many times it was out of reach."""
        self.dropped = 0
        """How many values in it were dropped by hang-ups from here."""
        self._client = client
        self._digests = {name: hashlib.sha1(source(name).encode()).hexdigest() for name in NAMES}
        self._inbox = inbox(settings.namespace, self.id)
        self._members: dict[bytes, Callable[[], None]] = {}
        self._made = 0
        self._in_touch_since = trio.current_time()

    @property
    def contact(self) -> int:
        """For how many ms the engine has been in reach without a break."""
        return int((trio.current_time() - self._in_touch_since) * 1000)

    # Members

    def new_member(self, wake: Callable[[], None]) -> str:
        """A name for one more member; `wake` is called when it is to look again."""
        self._made += 1
        name = f"{self.id}.{self._made}"
        self._members[name.encode()] = wake
        return name

    def forget_member(self, name: str) -> None:
        """It need not be woken any more."""
        self._members.pop(name.encode(), None)

    # Scripts

    async def call(self, script: str, keys: Keys, arguments: Callable[[bool], Sequence[Argument]]) -> list[Any]:
        """Runs a script, until it has run. `arguments` is told whether it may have run before.

        `ConnectionLostError` if it has not within `outage_timeout`; `NetchanError` if the engine refuses it.
        Cancelling leaves it open whether it has run.
        """
        began: float | None = None
        for pause in _pauses():
            try:
                with trio.fail_after(REPLY_TIMEOUT):
                    reply = await self._run(script, keys, arguments(began is not None))
            except Exception as error:
                began = await self._trouble(keys, error, began, pause)
            else:
                if began is not None:
                    logger.warning("the engine answers again after %.3f s", trio.current_time() - began)
                return reply
        raise AssertionError("there is always one more pause")

    async def _run(self, script: str, keys: Keys, arguments: Sequence[Argument]) -> list[Any]:
        if self.settings.replicas and script != "look":
            with self._client.ensure_replication(self.settings.replicas, REPLICATION_TIMEOUT):
                return await self._evaluate(script, keys, arguments)
        return await self._evaluate(script, keys, arguments)

    async def _evaluate(self, script: str, keys: Keys, arguments: Sequence[Argument]) -> list[Any]:
        reply: list[Any]
        try:
            reply = await self._client.evalsha(self._digests[script], keys=keys.all, args=arguments)
        except coredis_errors.NoScriptError:
            reply = await self._client.eval(source(script), keys=keys.all, args=arguments)
        return reply

    async def _trouble(self, keys: Keys, error: Exception, began: float | None, pause: float) -> float:
        """A script has not run, or it is not known whether it has. Since when there is trouble."""
        if not _passes(error):
            raise NetchanError(f"{keys.name}: expected the engine to do it, got: {_reason(error)}", channel=keys.name)
        if isinstance(error, trio.TooSlowError):
            self._client.connection_pool.disconnect()
        now = trio.current_time()
        if began is None:
            began = now
            self.outages += 1
            logger.warning("the engine cannot do it now: %s", _reason(error))
        self._in_touch_since = now
        timeout = self.settings.outage_timeout
        if now - began >= timeout:
            expected = f"expected the engine to answer within {timeout:g} s"
            raise ConnectionLostError(f"{keys.name}: {expected}, got: {_reason(error)}", channel=keys.name)
        await trio.sleep(min(pause, began + timeout - now))
        self._in_touch_since = trio.current_time()
        return began

    # The inbox

    async def check(self) -> None:
        """`OSError` if the engine cannot be reached, or does not let this client in."""
        try:
            with trio.fail_after(REPLY_TIMEOUT):
                await self._client.publish(self._inbox, b"")  # which also needs the right to it
        except Exception as error:
            kind = OSError if _passes(error) else PermissionError
            raise kind(f"expected an engine that answers, got: {_reason(error)}") from error

    async def listen(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Wakes members when the engine says so; all of them when it may have said so unheard."""
        started = False
        for pause in _pauses():
            try:
                async with self._client.pubsub(
                    channels=[self._inbox], retry_policy=NoRetryPolicy(), subscription_timeout=REPLY_TIMEOUT
                ) as subscription:
                    if not started:
                        started = True
                        task_status.started()
                    self._wake_all()
                    async for message in subscription:
                        if message["type"] == "message":
                            self._wake(message["data"])
            except Exception as error:
                if not started:
                    raise NetchanError(f"expected the engine to wake its clients, got: {_reason(error)}") from error
                logger.info("the engine's messages cannot be heard: %s", _reason(error))
            self._in_touch_since = trio.current_time()
            await trio.sleep(pause)

    def _wake(self, member: bytes) -> None:
        wake = self._members.get(member)
        if wake is not None:
            wake()

    def _wake_all(self) -> None:
        for wake in list(self._members.values()):
            wake()


@contextlib.asynccontextmanager
async def open_engine(url: str, ssl_context: ssl.SSLContext | None, settings: EngineSettings) -> AsyncGenerator[Engine]:
    """Connects to the engine. `OSError` if nobody answers there.

    The client's own tasks are shielded, so that an exporter or importer can leave in good order when it is cancelled.
    """
    error: BaseException | None = None
    async with trio.open_nursery() as nursery:
        running = _Running(settings)
        nursery.start_soon(running.run, url, ssl_context)
        try:
            yield await running.wait_started()
        except BaseException as exception:  # raised below: a nursery would wrap it
            error = exception
        running.stop.cancel()
    if error is not None:
        raise error


class _Running:
    """The task in which the client lives."""

    def __init__(self, settings: EngineSettings) -> None:
        self.stop = trio.CancelScope()
        self._settings = settings
        self._engine: Engine | None = None
        self._failure: Exception | None = None
        self._changed = trio.Event()

    async def wait_started(self) -> Engine:
        await self._changed.wait()
        if self._engine is None:
            assert self._failure is not None
            raise self._failure
        return self._engine

    async def run(self, url: str, ssl_context: ssl.SSLContext | None) -> None:
        try:
            with trio.CancelScope(shield=True):
                async with client_of(url, ssl_context) as client:
                    with self.stop:
                        await self._run(Engine(client, self._settings))
        except Exception as error:
            self._failure = self._failure or error
            if self._engine is not None:
                logger.info("the client of the engine did not end in good order: %s", _reason(error))
        self._changed.set()

    async def _run(self, engine: Engine) -> None:
        try:
            await engine.check()
        except OSError as error:
            self._failure = error
            return
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.listen)
            self._engine = engine
            self._changed.set()


def _pauses() -> Iterator[float]:
    """Seconds between attempts: the first is soon, then once a second."""
    pause = 0.02
    while True:
        yield pause
        pause = min(1.0, 2 * pause)


_PASSING = (
    coredis_errors.ConnectionError,
    coredis_errors.ReadOnlyError,
    coredis_errors.ReplicationError,
    coredis_errors.RedisClusterError,
    coredis_errors.SentinelError,
    trio.TooSlowError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    OSError,
    TimeoutError,
)
_PASSING_WORDS = (
    "OOM",
    "NOREPLICAS",
    "MISCONF",
    "MASTERDOWN",
    "LOADING",
    "BUSY",
    "READONLY",
    "CLUSTERDOWN",
    "TRYAGAIN",
)


def _passes(error: BaseException) -> bool:
    """Whether another attempt may succeed."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_passes, cast("BaseExceptionGroup[BaseException]", error).exceptions))
    if isinstance(error, coredis_errors.AuthenticationError | coredis_errors.AuthorizationError):
        return False
    return isinstance(error, _PASSING) or any(word in str(error)[:200] for word in _PASSING_WORDS)


def _reason(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return _reason(cast("BaseExceptionGroup[BaseException]", error).exceptions[0])
    if isinstance(error, trio.TooSlowError):
        return f"no answer within {REPLY_TIMEOUT:g} s"
    cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
    return f"{type(error).__name__}: {error}{cause}"
