"""What is to be seen of an exporter: its channels as a table, one channel in full, a live view, and how far it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import attrs
import rich.console
import rich.live
import rich.table
import rich.text
import rich.tree
import trio

from .._errors import (
    AuthenticationError,
    ConnectionLostError,
    LimitError,
    NetchanError,
    NoSuchChannelError,
    ProtocolError,
)
from .._importer import Importer
from ..observation import STATISTICS, Observation, ObservedChannel, ObservedImporter, TypeNode, observe
from .connecting import Options, connected
from .console import NOT_THERE, Failure, output, print_json, print_line
from .show import address_text, count_text, escaped, rate_text, size_text

__all__ = ["channel_named", "inspect_channel", "list_channels", "observed", "ping", "top"]

NARROW = 80  # columns: below, some are left out
LONGEST_NAME = 40  # characters that a terminal shows
WIDE = 10_000  # columns: where nobody looks, nothing is cut


async def observed(importer: Importer) -> Observation:
    """The exporter as it is now. `Failure` if it does not tell."""
    try:
        return await observe(importer)
    except NoSuchChannelError:
        why = "the exporter does not let itself be observed: its program must open it with observable=True"
        raise Failure(why, NOT_THERE) from None


def channel_named(observation: Observation, name: str) -> ObservedChannel:
    for channel in observation.channels:
        if channel.name == name:
            return channel
    names = ", ".join(channel.name for channel in observation.channels[:8]) or "none"
    more = ", …" * (len(observation.channels) > 8)
    raise Failure(f"{name}: expected a name that is exported ({names}{more}), got one that is not", NOT_THERE)


# Rates


@attrs.frozen
class Rates:
    """Values and bytes a second of one channel, since the last look; None if there was none."""

    values: float | None = None
    size: float | None = None


def rates_between(earlier: Observation | None, now: Observation) -> dict[str, Rates]:
    """By the name of the channel."""
    if earlier is None or now.seconds <= earlier.seconds or now.process != earlier.process:
        return {channel.name: Rates() for channel in now.channels}
    seconds = now.seconds - earlier.seconds
    before = {channel.name: channel for channel in earlier.channels}
    rates: dict[str, Rates] = {}
    for channel in now.channels:
        old = before.get(channel.name)
        values = _carried(channel) - (0 if old is None else _carried(old))
        size = _size(channel) - (0 if old is None else _size(old))
        fresh = values < 0  # the name was exported anew
        rates[channel.name] = Rates() if fresh else Rates(values / seconds, size / seconds)
    return rates


def _carried(channel: ObservedChannel) -> int:
    return channel.sent + channel.received


def _size(channel: ObservedChannel) -> int:
    return channel.bytes_sent + channel.bytes_received


async def _looks(importer: Importer, interval: float) -> AsyncGenerator[tuple[Observation, dict[str, Rates]]]:
    """The exporter every so many seconds."""
    earlier: Observation | None = None
    due = trio.current_time()
    while True:
        now = await observed(importer)
        yield now, rates_between(earlier, now)
        earlier = now
        due = max(due + interval, trio.current_time())
        await trio.sleep_until(due)


# The list, and the live view


async def list_channels(address: str, options: Options, watch: bool, interval: float) -> int:
    async with connected(address, options) as importer:
        if not watch:
            now = await observed(importer)
            if options.json:
                print_json(_as_json(now, None))
            else:
                _print_table(channel_table(now, None))
            return 0
        await _watch(importer, options, interval, screen=False, address=address)
    return 0


async def top(address: str, options: Options, interval: float) -> int:
    async with connected(address, options) as importer:
        await _watch(importer, options, interval, screen=True, address=address)
    return 0


async def _watch(importer: Importer, options: Options, interval: float, *, screen: bool, address: str) -> None:
    async with aclosing(_looks(importer, interval)) as looks:
        if options.json or not output.is_terminal:
            async for now, rates in looks:
                if options.json:
                    print_json(_as_json(now, rates))
                else:
                    _print_table(channel_table(now, rates))
                    print_line("")
            return
        # Refreshed here, not by a thread: an error in a thread, such as closed output, would not reach us.
        with rich.live.Live(console=output, screen=screen, auto_refresh=False, vertical_overflow="crop") as live:
            async for now, rates in looks:
                shown = live_view(address, now, rates) if screen else channel_table(now, rates)
                live.update(shown, refresh=True)


def channel_table(
    now: Observation, rates: Mapping[str, Rates] | None, *, busiest_first: bool = False
) -> rich.table.Table:
    """A line for each channel. `rates`: what happens in a second, too."""
    narrow = output.is_terminal and output.width < NARROW
    table = rich.table.Table(box=None, pad_edge=False, header_style="bold", expand=output.is_terminal)
    table.add_column("channel", no_wrap=True, max_width=LONGEST_NAME if output.is_terminal else None)
    if not narrow:
        table.add_column("exporter", no_wrap=True)
    for heading in _headings(rates is not None, narrow):
        table.add_column(heading, justify="right", no_wrap=True)
    if not narrow:
        table.add_column("type", no_wrap=True, ratio=1, min_width=10)  # it gives way
    channels = list(now.channels)
    if busiest_first and rates is not None:
        channels.sort(key=lambda channel: -(rates[channel.name].values or 0))
    for channel in channels:
        cells = _cells(channel, None if rates is None else rates[channel.name], narrow)
        if not narrow:
            cells = [_WAYS[channel.direction], *cells, escaped(channel.value_type)]
        table.add_row(escaped(channel.name), *cells)
    return table


def _headings(with_rates: bool, narrow: bool) -> list[str]:
    rates = ["values/s", *([] if narrow else ["bytes/s"])] if with_rates else []
    return ["importers", "values", *rates, "waiting", "unacked", *([] if narrow else ["back", "dropped"])]


def _cells(channel: ObservedChannel, rates: Rates | None, narrow: bool) -> list[str]:
    cells = [count_text(len(channel.importers)), count_text(_carried(channel))]
    if rates is not None:
        cells.append(rate_text(rates.values))
    if rates is not None and not narrow:
        cells.append("–" if rates.size is None else size_text(rates.size))
    cells += map(count_text, (channel.waiting, channel.unacknowledged))
    if not narrow:
        cells += map(count_text, (channel.redelivered, channel.dropped))
    return cells


_WAYS = {"send": "sends", "receive": "receives"}


def live_view(address: str, now: Observation, rates: Mapping[str, Rates]) -> rich.console.RenderableType:
    """The exporter as a whole, and its busiest channels first."""
    known = [rate for rate in rates.values() if rate.values is not None]
    values = sum(rate.values or 0 for rate in known) if known else None
    size = sum(rate.size or 0 for rate in known)
    head = rich.text.Text(no_wrap=True, overflow="ellipsis")
    head.append(f"{address}", style="bold")
    head.append(f"  process {now.process}, up {_duration(now.seconds)}, trionetchan {escaped(now.version)}\n")
    head.append(f"{count_text(now.connections)} connections, {count_text(now.suspended)} suspended, ")
    head.append(f"{count_text(now.resumed)} resumed, {count_text(now.dropped)} values dropped\n")
    head.append(f"{rate_text(values)} values/s, {size_text(size)}/s")
    head.append("   Ctrl-C ends", style="dim")
    if now.limits:
        reached = ", ".join(f"{escaped(name)} {count_text(count)}" for name, count in sorted(now.limits.items()))
        head.append(f"\nlimits reached: {reached}", style="yellow")
    return rich.console.Group(head, rich.text.Text(), channel_table(now, rates, busiest_first=True))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days} d " * bool(days) + f"{hours}:{minutes:02}:{rest:02}"


def _print_table(table: rich.console.RenderableType) -> None:
    """On a terminal as wide as that; else as wide as it is."""
    if output.is_terminal:
        output.print(table)
        return
    plain = rich.console.Console(
        width=WIDE, color_system=None, force_terminal=False, highlight=False, markup=False, emoji=False
    )
    with plain.capture() as capture:
        plain.print(table)
    for line in capture.get().splitlines():
        print_line(line.rstrip())


def _as_json(now: Observation, rates: Mapping[str, Rates] | None) -> dict[str, Any]:
    whole = attrs.asdict(now, filter=lambda attribute, _: attribute.name not in ("types", "type", "channels"))
    channels: list[dict[str, Any]] = []
    for channel in now.channels:
        entry = attrs.asdict(channel, filter=lambda attribute, _: attribute.name != "type")
        if rates is not None:
            entry |= {"values_per_second": rates[channel.name].values, "bytes_per_second": rates[channel.name].size}
        channels.append(entry)
    return whole | {"channels": channels}


# One channel


async def inspect_channel(address: str, name: str, options: Options) -> int:
    async with connected(address, options) as importer:
        now = await observed(importer)
        channel = channel_named(now, name)
        nodes = None if channel.type is None else now.types[channel.type]
        if options.json:
            entry = attrs.asdict(channel, filter=lambda attribute, _: attribute.name != "type")
            print_json(entry | {"type": None if nodes is None else [_node_as_json(node) for node in nodes]})
        else:
            _print_channel(channel, nodes)
    return 0


def _node_as_json(node: TypeNode) -> dict[str, Any]:
    entry = attrs.asdict(node)
    return entry | {"values": [repr(value) if isinstance(value, bytes) else value for value in node.values]}


def _print_channel(channel: ObservedChannel, nodes: list[TypeNode] | None) -> None:
    sends = channel.direction == "send"
    table = rich.table.Table(box=None, pad_edge=False, show_header=False)
    table.add_row("channel", escaped(channel.name))
    table.add_row("direction", "the exporter sends" if sends else "the exporter receives")
    table.add_row("window", f"{count_text(channel.window)} values at most with each importer")
    if sends:
        table.add_row("sent", f"{count_text(channel.sent)} values, {size_text(channel.bytes_sent)}")
        table.add_row("acknowledged", count_text(channel.acknowledged))
        table.add_row("unacknowledged", count_text(channel.unacknowledged))
        table.add_row("waiting", _waiting(channel))
        table.add_row("came back", f"{count_text(channel.redelivered)}, {count_text(channel.dead_letters)} too often")
    else:
        table.add_row("received", f"{count_text(channel.received)} values, {size_text(channel.bytes_received)}")
    table.add_row("dropped", count_text(channel.dropped))
    _print_table(table)
    print_line("")
    _print_table(_importer_table(channel.importers, sends=sends))
    print_line("")
    if nodes is None:
        print_line(f"type {escaped(channel.value_type)}")
    else:
        _print_table(type_tree(nodes))


def _waiting(channel: ObservedChannel) -> str:
    if not channel.waiting:
        return "0"
    if not channel.importers:
        why = "for an importer: nobody has imported the name"
    elif all(importer.suspended for importer in channel.importers):
        why = "for an importer: those that there are have no connection now"
    else:
        why = "for importers to acknowledge what they have"
    return f"{count_text(channel.waiting)}, {why}"


def _importer_table(importers: list[ObservedImporter], *, sends: bool) -> rich.table.Table:
    table = rich.table.Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("importer")
    table.add_column("address")
    carried, held = ("sent", "unacked") if sends else ("arrived", "not delivered")
    for heading in ("window", carried, held):
        table.add_column(heading, justify="right")
    table.add_column("")
    for importer in importers:
        full = importer.unacknowledged >= importer.window
        state = "suspended" if importer.suspended else "its window is full" if full else ""
        counts = map(count_text, (importer.window, importer.carried, importer.unacknowledged))
        table.add_row(str(importer.peer), address_text(importer.address), *counts, state)
    if not importers:
        table.add_row("none")
    return table


def type_tree(nodes: list[TypeNode]) -> rich.tree.Tree:
    """A value type, each record once: where it comes again, its name stands for it."""
    tree = rich.tree.Tree("type")
    _grow(tree, nodes, 0, "", set())
    return tree


def _grow(tree: rich.tree.Tree, nodes: list[TypeNode], index: int, label: str, shown: set[int]) -> None:
    node = nodes[index]
    again = index in shown
    branch = tree.add(rich.text.Text(f"{label}{_heading(node)}{' (as above)' * again}"))
    if again:
        return
    if node.kind == "record":
        shown.add(index)
    for field in node.fields:
        optional = " (may be missing)" if field.may_be_missing else ""
        _grow(branch, nodes, field.type, f"{escaped(field.name)}{optional}: ", shown)
    for item, part in zip(node.items, _parts(node), strict=True):
        _grow(branch, nodes, item, part, shown)


def _heading(node: TypeNode) -> str:
    if node.kind == "record":
        return f"record {escaped(node.name)}" + ", other fields are ignored" * node.ignores_others
    if node.kind == "literal":
        return escaped(f"one of {', '.join(map(repr, node.values))}")
    return {"null": "None", "map": "dict", "any": "any value", "duration": "timedelta"}.get(node.kind, node.kind)


def _parts(node: TypeNode) -> list[str]:
    if node.kind == "map":
        return ["key: ", "value: "]
    if node.kind == "tuple":
        return [f"{place}: " for place in range(len(node.items))]
    return ["" for _ in node.items]


# How far it is


async def ping(address: str, options: Options, count: int, interval: float) -> int:
    """A connection, and then questions about a name, each of which the exporter answers with yes or no."""
    began = trio.current_time()
    async with connected(address, options) as importer:
        await _ask(importer)
        connecting = trio.current_time() - began
        if options.json:
            print_json({"address": address, "connect_seconds": connecting})
        else:
            print_line(f"connected to {escaped(address)} in {connecting * 1e3:.1f} ms")
        times: list[float] = []
        for number in range(1, count + 1):
            began = trio.current_time()
            await _ask(importer)
            times.append(trio.current_time() - began)
            if options.json:
                print_json({"number": number, "seconds": times[-1]})
            else:
                print_line(f"{number}: {times[-1] * 1e3:.2f} ms")
            if number < count:
                await trio.sleep(interval)
        if not options.json:
            print_line(f"least {min(times) * 1e3:.2f} ms, most {max(times) * 1e3:.2f} ms")
    return 0


async def _ask(importer: Importer) -> None:
    """An import of no values: there and back, and nothing else comes of it."""
    try:
        channel = await importer.open_receive_channel(STATISTICS, count=0)
    except (AuthenticationError, ConnectionLostError, LimitError, ProtocolError):
        raise
    except NetchanError:
        return  # no such channel, or not for us: that is an answer, too
    channel.close()
