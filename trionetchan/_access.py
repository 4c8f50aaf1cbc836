"""Who is let in and what they may bind: the program's answers, kept in time and bounds, and written to the audit log.

The program answers with `authenticate` and `authorize` (see `_identity`). Neither may keep the reader of a connection
waiting for more than that connection's beginning: imports wait in a queue for each peer, and a few tasks ask for them.
What a peer can make wait there is bounded in bytes; more is refused.

Every decision is a line of the logger `trionetchan.audit`: INFO for what is allowed, WARNING for what is not. Refusals
can be provoked by anyone, so at most `max_log_lines` a second of them are written, and the rest is counted.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from typing import cast

import attrs
import trio

from ._errors import AuthenticationError, Code, printable
from ._identity import ANONYMOUS, Authenticate, Authorize, Credentials
from ._limits import Limits
from ._log import BoundedLog
from ._network.peer import Peer
from ._protocol.events import ImportRequested
from ._statistics import Direction

__all__ = ["Access"]

AUTHORIZING_AT_ONCE = 8  # imports of one peer
REQUEST_SIZE = 256  # bytes that an import takes while it waits, beside its name and schema

audit = logging.getLogger("trionetchan.audit")


@attrs.define(eq=False)
class _Queue:
    """The imports of one peer that wait to be authorized."""

    requests: deque[ImportRequested] = attrs.field(factory=deque[ImportRequested])
    size: int = 0
    """Bytes of those, and of those that are being asked about."""
    tasks: int = 0


class Access:
    """The program's two answers. `decided` is called with each import that may go on to be looked at."""

    def __init__(
        self,
        authenticate: Authenticate | None,
        authorize: Authorize | None,
        limits: Limits,
        *,
        log: BoundedLog,
        decided: Callable[[Peer, ImportRequested], None],
        reached: Callable[[str], None],
        run: Callable[[Callable[[], Awaitable[None]]], None],
    ) -> None:
        self.refused = 0
        """How many connections were not authenticated."""
        self.denied = 0
        """How many imports were not authorized."""
        self._authenticate = authenticate
        self._authorize = authorize
        self._limits = limits
        self._log = log
        self._audit_refusals = BoundedLog(limits.max_log_lines, audit)
        self._decided = decided
        self._reached = reached
        self._run = run
        self._queues: dict[Peer, _Queue] = {}

    # Who is there

    @property
    def authenticates(self) -> Callable[[Credentials], Awaitable[str]] | None:
        """What a connection asks about its peer; None: whoever comes is served."""
        return None if self._authenticate is None else self._check_credentials

    async def _check_credentials(self, credentials: Credentials) -> str:
        """The principal. `AuthenticationError` with what the peer may know: nothing."""
        assert self._authenticate is not None
        principal: object = None
        why: str | None = "`authenticate` raised"  # None: accepted
        try:
            with self._mistakes("`authenticate` raised, for %s", credentials.address):
                try:
                    principal = await self._authenticate(credentials)
                    why = self._not_a_principal(principal)
                except AuthenticationError as error:
                    why = str(error) or "`authenticate` does not say why"
                except trio.Cancelled:
                    why = "`authenticate` has not answered in time"
                    raise
        finally:
            self._tell(credentials, principal, why)
        if why is not None:
            raise AuthenticationError("expected an importer that this exporter knows, got one that it does not accept")
        return str(principal)

    def _not_a_principal(self, answer: object) -> str | None:
        """What is wrong with it, if it is none."""
        if isinstance(answer, str) and answer:
            return None
        if answer is None:
            return "`authenticate` accepts none of what it showed"
        why = f"expected a principal's name (a str) or None of `authenticate`, got {answer!r:.40}"
        self._log.error("%s", why)
        return why

    @contextlib.contextmanager
    def _mistakes(self, message: str, *arguments: object) -> Generator[None]:
        """What the program raises is logged, and goes no further: not even beside its being cancelled."""
        try:
            yield
        except Exception:
            self._log.exception(message, *arguments)
        except BaseExceptionGroup as group:
            cancelled, mistakes = group.split(trio.Cancelled)
            if not isinstance(mistakes, Exception):
                raise
            self._log.exception(message, *arguments)
            if cancelled is not None:
                raise cancelled from None

    def _tell(self, credentials: Credentials, principal: object, why_not: str | None) -> None:
        if why_not is not None:
            self.refused += 1
            self._audit_refusals.warning("refused %s: %s", credentials.address, why_not)
        else:
            audit.info("accepted %s as %s", credentials.address, _shown(str(principal)))

    # What they may bind

    def ask(self, peer: Peer, request: ImportRequested) -> None:
        """An import: `decided` is called with it, at once or later, if it may go on; else it is refused."""
        if self._authorize is None:
            self._decided(peer, request)
            return
        queue = self._queues.setdefault(peer, _Queue())
        size = _size(request)
        if queue.size + size > self._limits.max_answer_bytes:
            self._reached("max_answer_bytes")
            expected = f"at most {self._limits.max_answer_bytes} bytes of imports that wait (max_answer_bytes)"
            peer.reject(request, Code.LIMIT, f"{request.name}: expected {expected}, got more")
            return
        queue.size += size
        queue.requests.append(request)
        if queue.tasks < AUTHORIZING_AT_ONCE:
            queue.tasks += 1
            self._run(lambda: self._work(peer, queue))

    async def _work(self, peer: Peer, queue: _Queue) -> None:
        """Asks about one import after the other, as long as there are some."""
        try:
            while queue.requests and not peer.lost:
                request = queue.requests.popleft()
                await trio.lowlevel.checkpoint()  # others have their turn, whatever `authorize` does
                allowed = await self._is_allowed(peer, request)
                queue.size -= _size(request)
                if peer.lost or not peer.session.asks(request.channel):
                    continue  # the peer, or its interest, is gone
                if allowed:
                    self._decided(peer, request)
                else:
                    self._deny(peer, request)
                peer.flush()
        finally:
            queue.tasks -= 1
            if not queue.tasks and self._queues.get(peer) is queue:
                del self._queues[peer]

    async def _is_allowed(self, peer: Peer, request: ImportRequested) -> bool:
        assert self._authorize is not None
        principal, direction = _principal(peer), _direction(request)
        timeout = self._limits.handshake_timeout
        allowed: object = False
        with trio.move_on_after(timeout) as patience:
            with self._mistakes("`authorize` raised, for %s and %s", _shown(principal), _shown(request.name)):
                allowed = cast("object", await self._authorize(principal, request.name, direction))  # whatever it is
        if patience.cancelled_caught:
            self._log.error("`authorize` has not answered within %g s, for %s", timeout, _shown(principal))
        if not isinstance(allowed, bool):
            self._log.error("expected True or False of `authorize`, got %s", f"{allowed!r:.40}")
        if allowed is not True:
            return False
        audit.info("allowed %s to %s %s", _shown(principal), _verb(direction), _shown(request.name))
        return True

    def _deny(self, peer: Peer, request: ImportRequested) -> None:
        """In the same words whether there is such a channel or not."""
        self.denied += 1
        verb = _verb(_direction(request))
        self._audit_refusals.warning("denied %s to %s %s", _shown(_principal(peer)), verb, _shown(request.name))
        expected = f"{request.name}: expected a name that this importer may {verb}, got one that it may not"
        peer.reject(request, Code.PERMISSION_DENIED, expected)

    def tell(self) -> None:
        """Says how many lines of the audit log were left out, if some were."""
        self._audit_refusals.tell()


def _size(request: ImportRequested) -> int:
    return REQUEST_SIZE + len(request.name) + len(request.schema)


def _principal(peer: Peer) -> str:
    return peer.identity.principal or ANONYMOUS


def _direction(request: ImportRequested) -> Direction:
    return Direction.SEND if request.receives else Direction.RECEIVE


def _verb(direction: Direction) -> str:
    return "receive from" if direction is Direction.SEND else "send into"


def _shown(name: str) -> str:
    return repr(printable(name))
