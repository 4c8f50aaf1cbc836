"""Runs a case: three fresh processes, and what can be measured of them from outside."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import attrs
import trio

from ..children import Child, MeasurementError, child
from .cases import Case
from .outcome import KEPT, LEFT_BEHIND, Outcome, Stretch

__all__ = ["run"]

PACKAGE = __package__
LONGEST_STRETCH = 5.0  # seconds, of those without an attack
PATIENCE = 60.0  # seconds until a process must have answered, beyond what it was asked to do
SETTLED = 45.0  # seconds after an attack in which its connections and sessions must have gone
LOOK = 0.05  # seconds
CLEAN = 20  # looks in a row: a connection may still wait to be accepted


class Memory:
    """The memory of a process, as the system knows it."""

    def __init__(self, pid: int) -> None:
        self._directory = Path(f"/proc/{pid}")

    def reset(self) -> None:
        """Forgets the most so far."""
        (self._directory / "clear_refs").write_text("5")

    def now(self) -> int:
        return self._read("VmRSS")

    def most(self) -> int:
        return self._read("VmHWM")

    def _read(self, name: str) -> int:
        try:
            lines = (self._directory / "status").read_text().splitlines()
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
        except (OSError, StopIteration):
            raise MeasurementError(
                "the memory of the exporter cannot be read: it has ended, or there is no /proc"
            ) from None


@attrs.frozen
class _Cast:
    """The three processes."""

    exporter: Child
    healthy: Child
    attacker: Child

    async def stretch(self, seconds: float) -> Stretch:
        """What the healthy importer has for so long."""
        await self.healthy.tell("begin")
        await trio.sleep(seconds)
        return Stretch(**await _ask(self.healthy, "end"))


@contextlib.asynccontextmanager
async def _processes(case: Case, traced: bool) -> AsyncGenerator[_Cast]:
    served = child(f"{PACKAGE}.exporter", str(case.needs), "traced" if traced else "plain")
    async with served as exporter:
        ports = await _answer(exporter)
        attacking = child(f"{PACKAGE}.attacker", case.name, *(str(ports[name]) for name in ("tcp", "tls", "websocket")))
        async with child(f"{PACKAGE}.healthy", str(ports["tcp"])) as healthy, attacking as attacker:
            await _answer(healthy)
            yield _Cast(exporter, healthy, attacker)
            await attacker.tell("leave")


async def run(case: Case, seconds: float) -> Outcome:
    """Runs it for so many seconds. `MeasurementError` if a process fails that should not.

    A process may keep memory that Python does not use any more. So where it keeps some, a short second run tells how
    much is held by Python's objects.
    """
    outcome = await _run(case, seconds, traced=False)
    if outcome.kept <= KEPT:
        return outcome
    return attrs.evolve(outcome, held=(await _run(case, min(seconds, LONGEST_STRETCH), traced=True)).kept)


async def _run(case: Case, seconds: float, *, traced: bool) -> Outcome:
    async with _processes(case, traced) as cast:
        memory = Memory(cast.exporter.pid)
        short = min(seconds, LONGEST_STRETCH)
        alone = await cast.stretch(short)
        before = await _ask(cast.exporter, "collect")
        memory.reset()
        start = memory.now()
        attacked, tally = await _attacked(cast, seconds)
        most = memory.most()
        traced_most, settled = await _settle(cast.exporter, before)
        after = await _ask(cast.exporter, "collect")
        end = memory.now()
        await cast.attacker.tell(f"busy {tally['busy']} {short + 0.5}")
        control = await cast.stretch(short)
        await _answer(cast.attacker, short)
        await cast.healthy.tell("leave")  # before the exporter, whose end it would take for a failure
        failed = (await _ask(cast.exporter, "leave"))["failed"]
        return Outcome(
            seconds=seconds,
            alone=alone,
            attacked=attacked,
            control=control,
            memory=(before["traced"], traced_most, after["traced"]) if traced else (start, most, end),
            before=before,
            after=after,
            settled=settled,
            tally=tally,
            failed=failed,
        )


async def _attacked(cast: _Cast, seconds: float) -> tuple[Stretch, dict[str, Any]]:
    await cast.attacker.tell(f"attack {seconds}")
    stretch = await cast.stretch(seconds)
    return stretch, await _answer(cast.attacker, seconds)


async def _settle(exporter: Child, before: dict[str, Any]) -> tuple[int, float]:
    """Waits until nothing of the attack is there; at the latest until it should be. The most memory that was traced,
    and how long it took."""
    taken = (await _ask(exporter, "take"))["taken"]
    start = trio.current_time()
    clean = 0
    while True:
        await trio.sleep(LOOK)
        state = await _ask(exporter, "state")
        elapsed = trio.current_time() - start
        left = any(state[what] > before[what] for what in LEFT_BEHIND) or state["taken"] > taken
        taken = state["taken"]
        clean = 0 if left else clean + 1
        if clean >= CLEAN or elapsed > SETTLED:
            return state["traced_most"], elapsed


async def _ask(process: Child, line: str) -> dict[str, Any]:
    await process.tell(line)
    return await _answer(process)


async def _answer(process: Child, seconds: float = 0) -> dict[str, Any]:
    try:
        with trio.fail_after(PATIENCE + seconds):
            return await process.answer()
    except trio.TooSlowError:
        raise MeasurementError(f"a process did not answer in {PATIENCE:g} s") from None
