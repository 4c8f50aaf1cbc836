"""The rule of shares: when a channel that several importers send into is complete.

Each import holds a share from when it is bound. What happens to a share:

    event       when                                   counted imports     held by importers     orphans
    bind        an import is bound, no orphan is left  + 1                 + 1
    bind        the import adopts an orphan                                + 1                   - 1
    release     the importer finished or hung up                           - 1
    orphan      the importer crashed                                       - 1                   + 1
    withdraw    the import was cancelled; it was new   - 1                 - 1
    withdraw    the same; it had adopted an orphan                         - 1                   + 1

The stream is complete when as many imports as expected have counted, and no share is left, in hands or orphaned. So a
stream that lost a sender does not look complete: its orphan waits for the next import to adopt it.
"""

from __future__ import annotations

import math

__all__ = ["Share", "Shares"]


class Share:
    """What one import holds. It is used up by the first of release, orphan and withdraw."""

    __slots__ = ("adopted", "held")

    def __init__(self, *, adopted: bool) -> None:
        self.adopted = adopted
        self.held = True


class Shares:
    """All shares of one channel. `expected` imports make it complete; None: only a hang-up ends it."""

    def __init__(self, expected: int | None) -> None:
        self._expected = math.inf if expected is None else expected
        self._counted = 0
        self._held = 0
        self._orphans = 0

    @property
    def complete(self) -> bool:
        """Whether every sender that was expected has come and finished."""
        return self._counted >= self._expected and not self._held and not self._orphans

    @property
    def orphaned(self) -> bool:
        """Whether a share waits to be adopted."""
        return self._orphans > 0

    def __str__(self) -> str:
        return f"{self._counted} of {self._expected}"

    def bind(self) -> Share:
        """For a new import."""
        share = Share(adopted=bool(self._orphans))
        if share.adopted:
            self._orphans -= 1
        else:
            self._counted += 1
        self._held += 1
        return share

    def release(self, share: Share) -> None:
        """The importer finished, or hung up."""
        self._use(share)

    def orphan(self, share: Share) -> None:
        """The importer crashed, or sent what does not fit: what it would have sent is missing."""
        self._orphans += self._use(share)

    def withdraw(self, share: Share) -> None:
        """The import was cancelled before its caller had it: it leaves no trace."""
        if self._use(share):
            if share.adopted:
                self._orphans += 1
            else:
                self._counted -= 1

    def _use(self, share: Share) -> bool:
        """Whether it was held until now."""
        held, share.held = share.held, False
        self._held -= held
        return held
