# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# (what is planted takes the place of private methods)
"""The simulation finds mistakes that are planted in the library.

`SEEDS` says which was the first seed that found each, when this was written. Those that take longer are looked for only
where `TRIONETCHAN_EXAMPLES` is at least a thousand.
"""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Callable
from typing import Any

import pytest

from trionetchan._channels import outgoing
from trionetchan._channels.dealing import Dealer
from trionetchan._channels.outgoing import Outgoing
from trionetchan._channels.shares import Shares
from trionetchan._channels.waits import Waits
from trionetchan._errors import Code
from trionetchan._lease import Lease
from trionetchan._network.peer import Peer
from trionetchan._protocol.window import ReceiveWindow, SendWindow

from .running import simulate

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES") or "0")
MOST = 1000
QUICK = 40  # seeds, of those that are looked for each time
Plant = Callable[[pytest.MonkeyPatch], None]


def acknowledged_as_it_arrives(patch: pytest.MonkeyPatch) -> None:
    receive = ReceiveWindow.receive

    def receive_and_confirm(self: Any, first: int, payload: Any, *, more: bool) -> Any:
        whole = receive(self, first, payload, more=more)
        if whole is not None:
            self.confirmed = self.received
        return whole

    patch.setattr(ReceiveWindow, "receive", receive_and_confirm)


def a_value_that_comes_back_is_lost(patch: pytest.MonkeyPatch) -> None:
    take_back: Any = Dealer._take_back

    def lose_one(self: Any, *args: Any, **kwargs: Any) -> Any:
        back = take_back(self, *args, **kwargs)
        if len(self._waiting) > 1:
            self._waiting.remove(max(self._waiting))
            heapq.heapify(self._waiting)
        return back

    patch.setattr(Dealer, "_take_back", lose_one)


def what_comes_back_is_not_marked(patch: pytest.MonkeyPatch) -> None:
    take_back: Any = Dealer._take_back

    def unmarked(self: Any, *args: Any, **kwargs: Any) -> Any:
        back = take_back(self, *args, **kwargs)
        for value in back:
            value.returned = False
        return back

    patch.setattr(Dealer, "_take_back", unmarked)


def _tell_end_when(patch: pytest.MonkeyPatch, may: Callable[[Any, Any], bool]) -> None:
    def tell_end(self: Any) -> None:
        if self._intake.finished and self._state is outgoing._State.OPEN:
            self._state = outgoing._State.FINISHED
        if self._state is outgoing._State.FINISHED and not (self._dealer.waiting or self._intake.taken):
            for link in list(self._dealer.links):
                if not link.closing and may(self._dealer, link):
                    link.close(Code.FINISHED)

    patch.setattr(Outgoing, "_tell_end", tell_end)


def the_end_is_told_while_another_holds_values(patch: pytest.MonkeyPatch) -> None:
    _tell_end_when(patch, lambda dealer, link: not link.settles or not dealer.unacknowledged)


def the_end_is_told_to_who_could_reject(patch: pytest.MonkeyPatch) -> None:
    _tell_end_when(patch, lambda dealer, link: dealer.unacknowledged == link.unacknowledged)


def a_resume_repeats_a_value(patch: pytest.MonkeyPatch) -> None:
    rewind, receive = SendWindow.rewind, ReceiveWindow.receive

    def one_more(self: Any, received: int) -> None:
        again = any(batch.first == received - 1 for batch in self._kept)
        rewind(self, received - 1 if again else received)

    def take_again(self: Any, first: int, payload: Any, *, more: bool) -> Any:
        if first == self.received - 1:
            self.received -= 1
        return receive(self, first, payload, more=more)

    patch.setattr(SendWindow, "rewind", one_more)
    patch.setattr(ReceiveWindow, "receive", take_again)


def a_resume_forgets_a_batch(patch: pytest.MonkeyPatch) -> None:
    rewind = SendWindow.rewind

    def one_less(self: Any, received: int) -> None:
        rewind(self, received)
        if self._unwritten:
            self._unwritten.pop(0)

    patch.setattr(SendWindow, "rewind", one_less)


def a_drain_forgets_what_peers_have(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Outgoing, "_nothing_taken", property(lambda self: not (self._intake.taken or self._dealer.waiting)))


def a_sync_forgets_what_peers_have(patch: pytest.MonkeyPatch) -> None:
    sync = Waits.sync

    async def nothing(self: Any, links: Any, returned: Any = ()) -> None:
        await sync(self, (), ())

    patch.setattr(Waits, "sync", nothing)


def a_cancelled_import_stays_bound(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Peer, "withdraw", lambda self, request: None)


def an_importer_has_no_lease(patch: pytest.MonkeyPatch) -> None:
    def renew(self: Any, since: Any) -> None:
        self.deadline = self._booted_deadline = math.inf

    patch.setattr(Lease, "renew", renew)


def a_crash_counts_as_an_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Shares, "orphan", Shares.release)


def a_window_is_one_too_large(patch: pytest.MonkeyPatch) -> None:
    credit: Any = SendWindow.credit
    patch.setattr(SendWindow, "credit", property(lambda self: credit.fget(self) + 1))
    patch.setattr(SendWindow, "fits", lambda self, size, count: True)


def unconfirmed_values_are_not_listed(patch: pytest.MonkeyPatch) -> None:
    undelivered: Any = Dealer.undelivered
    patch.setattr(Dealer, "undelivered", lambda self: ([], undelivered(self)[1]))


def unconfirmed_values_are_listed_as_unsent(patch: pytest.MonkeyPatch) -> None:
    undelivered: Any = Dealer.undelivered
    patch.setattr(Dealer, "undelivered", lambda self: ([], sorted([*undelivered(self)[0], *undelivered(self)[1]])))


def drops_are_not_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Outgoing, "_drop", lambda self, numbers, why, *, more=0, by_peer=False: None)


SEEDS: dict[Plant, int] = {
    acknowledged_as_it_arrives: 0,
    a_value_that_comes_back_is_lost: 7,
    what_comes_back_is_not_marked: 3,
    the_end_is_told_while_another_holds_values: 0,
    the_end_is_told_to_who_could_reject: 208,
    a_resume_repeats_a_value: 73,
    a_resume_forgets_a_batch: 0,
    a_drain_forgets_what_peers_have: 60,
    a_sync_forgets_what_peers_have: 38,
    a_cancelled_import_stays_bound: 96,
    an_importer_has_no_lease: 39,
    a_crash_counts_as_an_end: 4,
    a_window_is_one_too_large: 0,
    unconfirmed_values_are_not_listed: 7,
    unconfirmed_values_are_listed_as_unsent: 345,
    drops_are_not_told: 21,
}


def search(most: int) -> int | None:
    """The first seed that shows it. A library that is broken so much that it raises shows it, too."""
    for seed in range(most):
        try:
            if simulate(seed).findings:
                return seed
        except Exception:
            return seed
    return None


@pytest.mark.parametrize("plant", SEEDS, ids=lambda plant: plant.__name__)
def test_a_planted_mistake_is_found(monkeypatch: pytest.MonkeyPatch, plant: Plant) -> None:
    if SEEDS[plant] > QUICK and EXAMPLES < MOST:
        pytest.skip(f"it takes {SEEDS[plant]} seeds")
    plant(monkeypatch)
    found = search(MOST if EXAMPLES >= MOST else 3 * QUICK)
    assert found is not None
    print(f"found by seed {found}")
