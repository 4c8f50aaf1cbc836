"""What is to happen: a world, and the steps that somebody takes in it. Drawn from a seed, or made by a test."""

from __future__ import annotations

import enum
import math
import random

import attrs

from trionetchan import Limits

from .line import Fault, Quality, Way

LARGE = 150_000
"""Bytes of a value that takes several frames."""

__all__ = ["Act", "ChannelPlan", "ImportPlan", "ImporterPlan", "Plan", "Step", "draw"]


@attrs.frozen(kw_only=True)
class ChannelPlan:
    """A channel that is exported."""

    name: str
    down: bool
    """Its values go from the exporter to importers."""
    senders: int = 1
    """So many tasks of the exporter send into it, if it is `down`."""
    values: int = 6
    """Each of them so many."""
    buffer: int = 0
    window: int = 64
    importers: int | None = 1
    dead_letters: bool = False
    pace: float = 0
    """Seconds between two values, on average; 0: as fast as it goes."""
    padding: int = 0
    """Values are numbers, or bytes, of which so many say nothing."""


@attrs.frozen(kw_only=True)
class ImportPlan:
    """One import of an importer."""

    channel: ChannelPlan
    window: int = 64
    buffer: int = 0
    count: int | None = None
    again: bool = False
    """When the count is reached, it binds the name once more, and so on."""
    manual: bool = False
    rejects: float = 0
    """So often a delivery is rejected, of 1."""
    holds: float = 0
    """So often it is settled later."""
    pace: float = 0
    values: int = 6
    """So many it sends."""
    closes: bool = True
    """It closes its send end when it is done, or is stopped."""
    opens: bool = False
    """The library opens the channel."""


@attrs.frozen(kw_only=True)
class ImporterPlan:
    imports: tuple[ImportPlan, ...]
    limits: Limits = attrs.field(factory=Limits)
    starts: float = 0
    """After so many seconds; never of its own accord, if infinite."""
    quality: Quality = attrs.field(factory=Quality)
    refused: bool = False
    """While the network is down its attempts to connect fail at once; else they wait."""


class Act(enum.Enum):
    """What a step does."""

    CUT = "cut"
    CUT_LATER = "cut later"
    PAUSE = "pause"
    CANCEL = "cancel"  # some call that waits
    CANCEL_IMPORT = "cancel import"
    KILL = "kill"
    LOSE = "lose"  # the network, for good
    START = "start"
    LEAVE = "leave"
    CLOSE = "close"  # a receive end, or a send end
    HANG_UP = "hang up"
    EXPORTER_HANGS_UP = "exporter hangs up"
    DRAIN = "drain"
    SYNC = "sync"
    EXPORTER_DRAINS = "exporter drains"
    EXPORTER_SYNCS = "exporter syncs"
    COUNT = "count"
    RESTART = "restart"
    SEND = "send"
    RECEIVE = "receive"
    ACK = "ack"
    REJECT = "reject"
    WAIT = "wait"


@attrs.frozen(kw_only=True)
class Step:
    """One step: when it is taken, and what it does."""

    act: Act
    whom: int = 0
    which: int = 0
    amount: int = 0
    """Of bytes, or of values."""
    seconds: float = 0
    """How long it lasts."""
    fault: Fault = Fault.RESET
    way: Way = Way.UP
    after: float = 0
    """So many seconds after the step before."""
    on_bytes: bool = False
    """Then in the very turn of the scheduler in which somebody reads the next bytes."""
    on_send: bool = False
    """Or in the very turn in which somebody sends the next value into a channel."""
    turns: int = 0
    """Then so many turns later."""


@attrs.frozen(kw_only=True)
class Plan:
    """All of it. The rest is left to chance, which follows from the seed."""

    seed: int
    channels: tuple[ChannelPlan, ...]
    importers: tuple[ImporterPlan, ...]
    steps: tuple[Step, ...]
    limits: Limits = attrs.field(factory=Limits)
    restarts: bool = False
    """There may be a next exporter. Its program keeps clones of its ends."""
    stepwise: bool = False
    """Values are sent and received only as steps say, until the end."""


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    chance = random.Random(f"plan {seed}")
    restarts = chance.random() < 0.12
    channels = tuple(_channel(chance, number, restarts) for number in range(chance.choice([1, 1, 2, 2, 3, 4])))
    resume_timeout = chance.choice([0, 2, 5, 5])
    limits = Limits(
        keepalive=chance.choice([0.5, 1]),
        keepalive_timeout=chance.choice([0.5, 2]),
        resume_timeout=resume_timeout,
        restart_timeout=30 if restarts else 0,
        goodbye_timeout=chance.choice([0.2, 1]),
        max_redeliveries=chance.choice([1, 5, 1000]),
        max_buffered_bytes=chance.choice([4 * 2**20, 4 * 2**20, 1000]),
        max_log_lines=10**6,
    )
    importers = tuple(_importer(chance, channels, limits) for _ in range(chance.choice([1, 1, 2, 2, 3, 4])))
    if any(channel.padding == LARGE for channel in channels):  # in small pieces they would take a while
        importers = tuple(attrs.evolve(importer, quality=Quality(capacity=20_000)) for importer in importers)
    if chance.random() < 0.12:
        return _isolation(chance, Plan(seed=seed, channels=channels, importers=importers, steps=(), limits=limits))
    # A few kinds of steps, again and again, reach more than a few of each kind.
    acts = chance.sample(_COMMON if chance.random() < 0.85 else _HARMLESS, chance.choice([2, 3, 5, 9]))
    acts += [Act.RESTART] * (restarts and len(acts) // 2)
    steps = tuple(_step(chance, acts) for _ in range(chance.choice([0, 2, 4, 8, 12])))
    return Plan(
        seed=seed,
        channels=channels,
        importers=importers,
        steps=steps,
        limits=limits,
        restarts=restarts,
    )


def _isolation(chance: random.Random, plan: Plan) -> Plan:
    """A slow importer, or two, that have much in their hands, lose the network for longer than their sessions may."""
    limits = attrs.evolve(plan.limits, resume_timeout=chance.choice([2, 5]), keepalive_timeout=chance.choice([0.5, 2]))
    channels = tuple(attrs.evolve(channel, values=20, pace=0, padding=0) for channel in plan.channels)
    slow = chance.choice([1, 1, 2])
    importers = tuple(
        ImporterPlan(
            imports=tuple(
                attrs.evolve(
                    _import(chance, channel),
                    window=chance.choice([4, 8]) if number < slow else 2,
                    pace=chance.choice([0.3, 0.8, 1.5]) if number < slow else 0,
                    count=None,
                    values=20,
                )
                for channel in channels
            ),
            limits=limits,
            starts=0 if number < slow else chance.choice([0, 0.5, 3]),
        )
        for number in range(slow + 1)
    )
    faults = [Fault.HALF, Fault.HALF, Fault.ONE_WAY, Fault.STALL, Fault.RESET]
    steps = [
        attrs.evolve(
            _step(chance, [Act.LOSE, Act.LOSE, Act.LOSE, Act.CUT, Act.SYNC]),
            whom=chance.randrange(slow),
            after=chance.choice([0.01, 0.5, 2]),
            fault=chance.choice(faults),
        )
        for _ in range(chance.choice([1, 2]))
    ]
    return attrs.evolve(
        plan, channels=channels, importers=importers, steps=(*steps, Step(act=Act.WAIT, after=9)), limits=limits
    )


_COMMON = [act for act in Act if act not in (Act.SEND, Act.RECEIVE, Act.ACK, Act.REJECT, Act.START, Act.RESTART)]
_HARMLESS = [Act.PAUSE, Act.CANCEL, Act.CANCEL_IMPORT, Act.LEAVE, Act.DRAIN, Act.SYNC, Act.EXPORTER_DRAINS,
             Act.EXPORTER_SYNCS, Act.COUNT, Act.WAIT, Act.HANG_UP]  # fmt: skip


def _pace(chance: random.Random) -> float:
    return chance.choice([0, 0, 0.001, 0.01, 0.3, 1.5])


def _channel(chance: random.Random, number: int, restarts: bool) -> ChannelPlan:
    down = chance.random() < 0.6
    large = chance.random() < 0.02
    return ChannelPlan(
        name=f"{'down' if down else 'up'}{number}",
        down=down,
        senders=chance.choice([1, 1, 2]),
        values=chance.choice([0, 1, 3, 6, 10, 20]) if not large else 3,
        buffer=chance.choice([0, 0, 1, 3, 10]),
        window=chance.choice([1, 2, 4, 16, 64]),
        importers=None if restarts and not down else chance.choice([1, 1, 2, None]),
        dead_letters=chance.random() < 0.5,
        pace=_pace(chance),
        padding=chance.choice([0, 0, 0, 40, 600]) if not large else LARGE,
    )


def _importer(chance: random.Random, channels: tuple[ChannelPlan, ...], limits: Limits) -> ImporterPlan:
    chosen = [channel for channel in channels if chance.random() < 0.85]
    if chance.random() < 0.5:
        limits = attrs.evolve(limits, resume_timeout=chance.choice([0, 2, 5, 10]))
    return ImporterPlan(
        imports=tuple(_import(chance, channel) for channel in chosen),
        limits=limits,
        starts=chance.choice([0, 0, 0.001, 0.05, 1, 4]),
        quality=Quality(
            capacity=chance.choice([math.inf, 100, 5000]),
            slice_size=chance.choice([math.inf, math.inf, 30, 500]),
            delay=chance.choice([0, 0, 0.001, 0.05]),
        ),
        refused=chance.random() < 0.5,
    )


def _import(chance: random.Random, channel: ChannelPlan) -> ImportPlan:
    manual = channel.down and chance.random() < 0.5
    buffer = chance.choice([0, 0, 0, 2, 10])
    return ImportPlan(
        channel=channel,
        window=chance.choice([1, 2, 3, 8, 64]),
        buffer=buffer,
        count=chance.choice([None, None, None, 1, 2, 5]),
        again=chance.random() < 0.5,
        manual=manual,
        rejects=chance.choice([0, 0, 0.2]),
        holds=chance.choice([0, 0.5, 0.9]),
        pace=_pace(chance),
        values=chance.choice([0, 1, 5, 12]),
        closes=chance.random() < 0.8,
        opens=buffer == 0 and chance.random() < 0.4,
    )


def _step(chance: random.Random, acts: list[Act]) -> Step:
    aim = chance.random()
    return Step(
        act=chance.choice(acts),
        whom=chance.randrange(12),
        which=chance.randrange(12),
        amount=int(10 ** chance.uniform(0, 3.3)),
        seconds=chance.choice([0, 0.001, 0.1, 0.7, 1.9, 4, 9]),
        fault=chance.choice(
            [Fault.RESET, Fault.RESET, Fault.END, Fault.STALL, Fault.SWALLOW, Fault.HALF, Fault.ONE_WAY]
        ),
        way=chance.choice([*Way]),
        after=chance.choice([0, 0, 0.001, 0.005, 0.02, 0.3, 1, 3, 6]),
        on_bytes=aim < 0.4,
        on_send=aim > 0.75,
        turns=chance.choice([0, 0, 0, 1, 2, 3, 5]),
    )
