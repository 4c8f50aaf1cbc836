"""The log of one exporter or importer: at most so many lines a second, and the rest counted.

Whoever reaches a port can have a line written for each bad connection, refused value or dropped value; without a bound
that fills a disk. So the lines of all that a peer can provoke go through the one `BoundedLog` of their endpoint. What
is left out is told in one line, with the next that is written. Nothing is written in between: no task waits for it.
"""

from __future__ import annotations

import logging
import sys
import time

import trio

from ._allowance import Allowance

__all__ = ["BoundedLog"]

TELL_AFTER = 1.0  # seconds between two lines that tell how many were left out
MAX_FAULTS = 100  # places in the code whose traceback was written, that are remembered

logger = logging.getLogger("trionetchan")


class BoundedLog:
    """Writes to a logger, as its methods of the same names do: `trionetchan`, or one below it.

    A token bucket: it holds the lines of one second, and is filled by and by. A line that tells how many were left out
    is paid for, too, by those after it.
    """

    def __init__(self, lines_per_second: int, logger: logging.Logger = logger) -> None:
        self._logger = logger
        self.left_out = 0
        """How many lines were left out that have not been told yet."""
        self._allowed = Allowance(lines_per_second, lines_per_second)
        self._told_at = -TELL_AFTER
        self._faults: set[tuple[str, int]] = set()

    def info(self, message: str, *arguments: object) -> None:
        self._log(logging.INFO, message, arguments)

    def warning(self, message: str, *arguments: object) -> None:
        self._log(logging.WARNING, message, arguments)

    def error(self, message: str, *arguments: object) -> None:
        self._log(logging.ERROR, message, arguments)

    def exception(self, message: str, *arguments: object) -> None:
        """A mistake of this library's or the program's, which is being handled.

        The first from one place in the code has its traceback; the others, which peers could go on to provoke, are one
        line, with the error's name.
        """
        error = sys.exception()
        place = _place_of(error)
        if place in self._faults or len(self._faults) >= MAX_FAULTS:
            self._log(logging.ERROR, f"{message}: %s", (*arguments, type(error).__name__))
        elif self._log(logging.ERROR, message, arguments, error):
            self._faults.add(place)

    def tell(self) -> None:
        """Says now how many lines were left out, if some were."""
        if self.left_out:
            self._logger.warning("%d more lines like these were left out", self.left_out)
            self.left_out = 0
            self._allowed.spend(1, _now())

    def _log(self, level: int, message: str, arguments: tuple[object, ...], error: BaseException | None = None) -> bool:
        """Whether the line is written."""
        if not self._logger.isEnabledFor(level):
            return False
        now = _now()
        if self._allowed.left(now) < 1:
            self.left_out += 1
            return False
        if self.left_out and not 0 <= now - self._told_at < TELL_AFTER:
            self._told_at = now
            self.tell()
        self._allowed.spend(1, now)
        self._logger.log(level, message, *arguments, exc_info=error, stacklevel=3)
        return True


def _now() -> float:
    """Outside of trio the clock is another one, and may seem to go back."""
    return trio.current_time() if trio.lowlevel.in_trio_run() else time.monotonic()


def _place_of(error: BaseException | None) -> tuple[str, int]:
    """Where in the code it was raised."""
    trace = None if error is None else error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace is not None else (type(error).__name__, 0)
