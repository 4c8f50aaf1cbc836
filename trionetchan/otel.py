"""OpenTelemetry: metrics of exporters and importers, spans of what takes a while, and the trace of a value.

Needs the `otel` extra. Three parts, each by itself:

- `export_metrics` is a task that makes metrics of `statistics()`. Sending and receiving values does nothing for it.
- `spans` is a block in which connecting, importing, draining and resuming are spans.
- `Traced[T]` is a value type: a value, and the trace context of who sent it. `traced_send` and `traced_receive` put a
  channel's values into it and take them out again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from importlib.metadata import version
from typing import Generic, TypeVar, cast
from weakref import WeakKeyDictionary

import attrs
import trio
from opentelemetry import context as context_api
from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider

from ._errors import NetchanError
from ._exporter import Exporter
from ._importer import Importer
from ._instruments import Instrument, instrumented
from ._statistics import ChannelStatistics, Direction, ExporterStatistics, ImporterStatistics

__all__ = [
    "Traced",
    "TracedReceiveChannel",
    "TracedSendChannel",
    "channel_label",
    "export_metrics",
    "spans",
    "traced",
    "traced_receive",
    "traced_send",
]

T = TypeVar("T")

# Metrics


@attrs.frozen
class _Metric:
    """Of channels: what is told of one."""

    name: str
    field: str
    """Of its statistics."""
    unit: str
    what: str
    directions: tuple[Direction, ...]
    """Of channels that have it."""


_SENDS, _RECEIVES, _BOTH = (Direction.SEND,), (Direction.RECEIVE,), (Direction.SEND, Direction.RECEIVE)
_COUNTERS = (
    _Metric("sent", "sent", "{value}", "Values handed to peers", _SENDS),
    _Metric("received", "received", "{value}", "Values delivered here", _RECEIVES),
    _Metric("acknowledged", "acknowledged", "{value}", "Values that peers have acknowledged", _SENDS),
    _Metric("redelivered", "redelivered", "{value}", "Values dealt again after a peer had held them", _SENDS),
    _Metric("dropped", "dropped", "{value}", "Values that nobody will get", _BOTH),
    _Metric("dead_letters", "dead_letters", "{value}", "Values that came back too often", _SENDS),
    _Metric("payload_sent", "bytes_sent", "By", "Payload handed to peers", _SENDS),
    _Metric("payload_received", "bytes_received", "By", "Payload that arrived", _RECEIVES),
)
_GAUGES = (
    _Metric("waiting", "waiting", "{value}", "Values that wait to be sent", _SENDS),
    _Metric("unacknowledged", "unacknowledged", "{value}", "Values that peers hold unacknowledged", _SENDS),
    _Metric("peers", "peers", "{peer}", "Peers that are bound", _BOTH),
)
_WHOLE_COUNTERS = {
    "resumed": ("{session}", "Sessions that went on over another connection"),
    "dropped": ("{value}", "Values that nobody will get, of channels that are gone too"),
}
_WHOLE_GAUGES = {
    "connections": ("{connection}", "Connections that are open"),
    "suspended": ("{session}", "Sessions that wait for another connection"),
}
_LIMITS = "limits_reached"


def channel_label(name: str) -> str:
    """The channel's name, as metrics have it. Those of replies to clients, of which there are many, are one."""
    return re.sub(r"/[0-9a-f]{32}\Z", "/*", name)


async def export_metrics(
    endpoint: Exporter | Importer,
    *,
    name: str = "",
    meter_provider: MeterProvider | None = None,
    interval: float = 1.0,
    label: Callable[[str], str] = channel_label,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Makes metrics of an exporter's or importer's statistics, until cancelled or its block is left.

    It takes the statistics each `interval` seconds; readers, which run in threads of their own, get what was taken
    last. `name` is the attribute `endpoint` of all metrics, to tell several of a process apart. `label` makes the
    attribute `channel` of a channel's name; channels with one label are added up. Counters never go back: what a
    channel had counted that was hung up or exported anew is kept. `meter_provider`: the global one unless given.
    """
    instruments = _instruments_of(meter_provider or metrics.get_meter_provider())
    source = _Source(name, label)
    try:
        source.look(endpoint.statistics())
        instruments.sources.append(source)
        task_status.started()
        while True:
            await trio.sleep(interval)
            source.look(endpoint.statistics())
    except (NetchanError, trio.ClosedResourceError):
        await trio.lowlevel.checkpoint_if_cancelled()  # the block is left, or has failed, which it raises itself
    finally:
        with contextlib.suppress(ValueError):
            instruments.sources.remove(source)


@attrs.define(eq=False)
class _Source:
    """One exporter or importer: what is told of it, by instrument."""

    _name: str
    _label: Callable[[str], str]
    told: Mapping[str, list[Observation]] = attrs.field(factory=dict[str, list[Observation]], init=False)
    """Replaced as a whole: threads read it."""
    _totals: dict[tuple[str, str, str], int] = attrs.field(factory=dict[tuple[str, str, str], int], init=False)
    """Counts by label, direction and field."""
    _last: dict[tuple[str, str], int] = attrs.field(factory=dict[tuple[str, str], int], init=False)
    """Counts by channel and field, when it was looked at last."""

    def look(self, statistics: ExporterStatistics | ImporterStatistics) -> None:
        told: dict[str, list[Observation]] = {}
        self._count(statistics.channels)
        for (label, direction, metric), count in [*self._totals.items(), *self._now(statistics.channels).items()]:
            self._tell(told, f"channel.{metric}", count, channel=label, direction=direction)
        for field in [*_WHOLE_COUNTERS, *_WHOLE_GAUGES]:
            if hasattr(statistics, field):  # an importer's has but one of them
                self._tell(told, field, getattr(statistics, field))
        if isinstance(statistics, ExporterStatistics):
            for limit, count in statistics.limits.items():
                self._tell(told, _LIMITS, count, limit=limit)
        self.told = told

    def _tell(self, told: dict[str, list[Observation]], metric: str, count: int, **attributes: str) -> None:
        told.setdefault(metric, []).append(Observation(count, {"endpoint": self._name, **attributes}))

    def _count(self, channels: Mapping[str, ChannelStatistics]) -> None:
        """Adds what was counted since the last look. A count that is smaller than it was has begun anew."""
        last = self._last
        self._last = {}
        for name, metric, channel in _told_of(channels, _COUNTERS):
            count: int = getattr(channel, metric.field)
            before = last.get((name, metric.name), 0)
            self._last[name, metric.name] = count
            key = self._label(name), channel.direction.value, metric.name
            self._totals[key] = self._totals.get(key, 0) + (count - before if count >= before else count)

    def _now(self, channels: Mapping[str, ChannelStatistics]) -> dict[tuple[str, str, str], int]:
        found: dict[tuple[str, str, str], int] = {}
        for name, metric, channel in _told_of(channels, _GAUGES):
            key = self._label(name), channel.direction.value, metric.name
            found[key] = found.get(key, 0) + int(getattr(channel, metric.field))
        return found


def _told_of(
    channels: Mapping[str, ChannelStatistics], told: Iterable[_Metric]
) -> Iterator[tuple[str, _Metric, ChannelStatistics]]:
    for name, channel in channels.items():
        for metric in told:
            if channel.direction in metric.directions:
                yield name, metric, channel


class _Instruments:
    """The instruments of a meter provider: they are made once, and tell of all sources."""

    def __init__(self, meter: Meter) -> None:
        self.sources: list[_Source] = []
        counters = [(f"channel.{metric.name}", metric.unit, metric.what) for metric in _COUNTERS]
        for name, unit, what in [*counters, *((name, *rest) for name, rest in _WHOLE_COUNTERS.items())]:
            meter.create_observable_counter(f"trionetchan.{name}", [self._callback(name)], unit, what)
        gauges = [(f"channel.{metric.name}", metric.unit, metric.what) for metric in _GAUGES]
        for name, unit, what in [*gauges, *((name, *rest) for name, rest in _WHOLE_GAUGES.items())]:
            meter.create_observable_up_down_counter(f"trionetchan.{name}", [self._callback(name)], unit, what)
        what = "How many times importers have reached a limit"
        meter.create_observable_counter(f"trionetchan.{_LIMITS}", [self._callback(_LIMITS)], "{time}", what)

    def _callback(self, field: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def tell(_options: CallbackOptions) -> Iterable[Observation]:
            return [observation for source in list(self.sources) for observation in source.told.get(field, ())]

        return tell


_made: WeakKeyDictionary[MeterProvider, _Instruments] = WeakKeyDictionary()


def _instruments_of(provider: MeterProvider) -> _Instruments:
    if provider not in _made:
        _made[provider] = _Instruments(provider.get_meter("trionetchan", version("trionetchan")))
    return _made[provider]


# Spans


@contextlib.contextmanager
def spans(tracer_provider: TracerProvider | None = None) -> Generator[None]:
    """Exporters and importers that are opened in the block, and tasks that are started in it, make spans.

    Of connecting, importing, draining, syncing and resuming: `trionetchan import`, with the attribute
    `trionetchan.channel`, and so on: see `trionetchan.abc.Instrument`. A span of a call is a child of the span that
    is current where it is called. One that fails has the error; one that is cancelled says so in
    `trionetchan.cancelled`. `tracer_provider`: the global one unless given.
    """
    tracer = trace.get_tracer("trionetchan", version("trionetchan"), tracer_provider)
    with instrumented(_Spans(tracer)):
        yield


class _Spans(Instrument):
    """Makes a span of each operation."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def operation(self, name: str, attributes: Mapping[str, str], /) -> AbstractContextManager[object]:
        return self._span(name, {f"trionetchan.{key}": value for key, value in attributes.items()})

    @contextlib.contextmanager
    def _span(self, name: str, attributes: Mapping[str, str]) -> Generator[None]:
        kind = SpanKind.CLIENT if name in ("connect", "import") else SpanKind.INTERNAL
        with self._tracer.start_as_current_span(
            f"trionetchan {name}",
            kind=kind,
            attributes=dict(attributes),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                _end_badly(span, error)
                raise


def _end_badly(span: Span, error: BaseException) -> None:
    if _only_cancelled(error):
        span.set_attribute("trionetchan.cancelled", True)
    else:
        span.record_exception(error)
        span.set_status(Status(StatusCode.ERROR, str(error)))


def _only_cancelled(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(_only_cancelled, cast("BaseExceptionGroup[BaseException]", error).exceptions))
    return isinstance(error, trio.Cancelled)


# The trace of a value

MAX_ENTRIES = 8  # of a context that comes from a peer
MAX_ENTRY_SIZE = 8 * 2**10  # characters: as long as a tracestate or a baggage may be


@attrs.frozen
class Traced(Generic[T]):
    """A value, and the trace context of who sent it. As a value type, `Traced[Job]`, it is what both sides agree on.

    A side that does not know of traces names `Job` and does not fit: that is told when the name is bound.
    """

    value: T
    context: dict[str, str] = attrs.field(factory=dict[str, str])
    """As OpenTelemetry's propagator writes it; empty where there is no trace."""

    def extracted(self, context: Context | None = None) -> Context:
        """The sender's trace context, on top of another. What is too long to be one is left out."""
        if len(self.context) > MAX_ENTRIES or max(map(len, self.context.values()), default=0) > MAX_ENTRY_SIZE:
            return context or Context()
        return propagate.extract(self.context, context)

    @contextlib.contextmanager
    def current(self) -> Generator[T]:
        """Makes the sender's context the current one in the block, whose spans are children of the sender's."""
        token = context_api.attach(self.extracted(context_api.get_current()))
        try:
            yield self.value
        finally:
            context_api.detach(token)


def traced(value: T) -> Traced[T]:
    """The value, with the trace context that is current here."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return Traced(value, carrier)


def traced_send(channel: trio.abc.SendChannel[Traced[T]]) -> TracedSendChannel[T]:
    """An end into which one sends values as ever; each takes the current trace context of its sender with it."""
    return TracedSendChannel(channel)


def traced_receive(channel: trio.abc.ReceiveChannel[Traced[T]]) -> TracedReceiveChannel[T]:
    """An end from which one receives values as ever. The task that has received one has the sender's trace context.

    That is its current context until it receives the next value, or the end. It is that task's alone: tasks that it
    starts meanwhile have it too, as trio's tasks do.
    """
    return TracedReceiveChannel(channel)


class TracedSendChannel(trio.abc.SendChannel[T]):
    """Made by `traced_send`. Closing it closes the end."""

    def __init__(self, channel: trio.abc.SendChannel[Traced[T]]) -> None:
        self._channel = channel

    async def send(self, value: T) -> None:
        await self._channel.send(traced(value))

    async def aclose(self) -> None:
        await self._channel.aclose()


@attrs.frozen(eq=False)
class _Attached:
    """What a task's context was, and what was made its current one when it received a value."""

    own: Context
    current: Context


_attached: ContextVar[_Attached | None] = ContextVar("trionetchan_attached", default=None)


class TracedReceiveChannel(trio.abc.ReceiveChannel[T]):
    """Made by `traced_receive`. Closing it closes the end."""

    def __init__(self, channel: trio.abc.ReceiveChannel[Traced[T]]) -> None:
        self._channel = channel

    async def receive(self) -> T:
        own, attached = context_api.get_current(), _attached.get()
        if attached is not None and attached.current is own:
            own = attached.own
            context_api.attach(own)  # of the value before, nothing stays
        got = await self._channel.receive()
        current = got.extracted(own)
        context_api.attach(current)
        _attached.set(_Attached(own, current))
        return got.value

    async def aclose(self) -> None:
        await self._channel.aclose()
