"""Where programs can look at what the library does: see `trionetchan.abc.Instrument`.

What is watched takes milliseconds or more: nothing of it is done for each value, so nothing of it is on the way of one.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar

__all__ = ["Instrument", "instrumented", "operation"]


class Instrument(ABC):
    """Is told of what exporters and importers do that takes a while: connecting, importing, draining, resuming.

    Use it with `instrumented`.
    """

    @abstractmethod
    def operation(self, name: str, attributes: Mapping[str, str], /) -> AbstractContextManager[object]:
        """A context manager that is entered when an operation begins, and left when it ends.

        What the operation raises, `trio.Cancelled` too, passes through it; it must not keep it back, raise by itself,
        or wait. It is entered and left in the task that does the operation. The operations, with their attributes::

            connect     an importer connects: `address`
            import      an importer asks for a name: `channel`
            drain       `channels`, separated by commas; empty: all
            sync        the same
            resume      from the break of a connection until it is resumed, or is lost: `side`, which is importer or
                        exporter; on an exporter `peer`, an address

        There may be more of them one day, and more attributes.
        """


_instruments: ContextVar[tuple[Instrument, ...]] = ContextVar("trionetchan_instruments", default=())


@contextlib.contextmanager
def instrumented(*instruments: Instrument) -> Generator[None]:
    """Exporters and importers that are opened in the block, and tasks that are started in it, tell these instruments.

    Those of the blocks around it are told first.
    """
    token = _instruments.set((*_instruments.get(), *instruments))
    try:
        yield
    finally:
        _instruments.reset(token)


@contextlib.contextmanager
def operation(name: str, **attributes: str) -> Generator[None]:
    """Around an operation: tells the instruments that there are."""
    with contextlib.ExitStack() as stack:
        for instrument in _instruments.get():
            stack.enter_context(instrument.operation(name, attributes))
        yield
