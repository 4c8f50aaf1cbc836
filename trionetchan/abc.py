"""Interfaces for programs that look at what the library does, as `trio.abc` has them for trio."""

from __future__ import annotations

from ._instruments import Instrument, instrumented

__all__ = ["Instrument", "instrumented"]
