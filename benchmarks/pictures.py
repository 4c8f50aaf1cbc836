"""The pictures, drawn from results. Needs matplotlib."""

# pyright: reportUnknownMemberType=false
# matplotlib leaves the keyword arguments of its methods without types.

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from .cases import SWEEPS, Measured
from .peers import LOCAL, OURS, PEERS
from .results import Results, Spread

__all__ = ["draw"]

mpl.use("agg")

OUR_COLOUR = "black"
THEIR_COLOUR = "tab:blue"


def draw(results: Results, directory: Path) -> list[Path]:
    """Draws the pictures for which there is data; returns their files."""
    directory.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, Callable[[Results], Figure | None]] = {
        "throughput-by-window": _windows,
        "throughput-beside-peers": _throughput,
        "latency-beside-peers": _latency,
        "latency-distribution": _distribution,
        "scaling": _scaling,
    }
    files: list[Path] = []
    for name, picture in pictures.items():
        figure = picture(results)
        if figure is not None:
            files.append(directory / f"{name}.png")
            figure.savefig(files[-1], dpi=120)
    return files


def _figure(columns: int = 1, height: float = 4.5) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(8, height), layout="constrained")
    axes = [figure.add_subplot(1, columns, column + 1) for column in range(columns)]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _curve(axes: Axes, points: list[tuple[int, Spread]], label: str) -> None:
    places = [x for x, _ in points]
    (line,) = axes.plot(places, [spread.median / 1000 for _, spread in points], marker="o", label=label)
    axes.fill_between(
        places,
        [spread.low / 1000 for _, spread in points],
        [spread.high / 1000 for _, spread in points],
        color=line.get_color(),
        alpha=0.15,
        linewidth=0,
    )


def _windows(results: Results) -> Figure | None:
    if "windows" not in results.sweeps:
        return None
    figure, (axes,) = _figure()
    for curve, points in results.sweeps["windows"].curves(SWEEPS["windows"]).items():
        if curve.startswith("local"):
            axes.axhline(points[0][1].median / 1000, linestyle=":", color="grey")
            axes.annotate(curve, (1, points[0][1].median / 1000), color="grey", va="bottom", fontsize=8)
        else:
            _curve(axes, points, curve)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("window")
    axes.set_ylabel("thousand integers/s")
    axes.legend(frameon=False)
    return figure


def _scaling(results: Results) -> Figure | None:
    names = [name for name in ("importers", "channels") if name in results.sweeps]
    if not names:
        return None
    figure, all_axes = _figure(len(names))
    for name, axes in zip(names, all_axes, strict=True):
        for curve, points in results.sweeps[name].curves(SWEEPS[name]).items():
            _curve(axes, points, curve)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_ylim(bottom=0)
        axes.set_xlabel({"importers": "importers of one name", "channels": "channels on one connection"}[name])
        axes.set_ylabel("thousand integers/s")
        axes.legend(frameon=False)
    return figure


def _of_peers(results: Results, suffix: str) -> dict[str, list[Measured]]:
    """What was measured of each peer in the cases beside peers, and of this library in all of them."""
    measured: dict[str, list[Measured]] = {}
    for name in PEERS:
        result = results.cases.get(f"peer-{name}{suffix}")
        if result is not None and result.baseline:
            measured.setdefault(OURS, []).extend(result.subject)
            measured[name] = result.baseline
    return measured


def _dots(axes: Axes, spreads: dict[str, Spread], marker: str, label: str) -> None:
    """A dot for each peer, with its spread: on a logarithmic axis, where bars would have no honest length."""
    for number, (name, spread) in enumerate(spreads.items()):
        axes.errorbar(
            spread.median,
            number,
            xerr=[[spread.median - spread.low], [spread.high - spread.median]],
            marker=marker,
            color=OUR_COLOUR if name == OURS else THEIR_COLOUR,
            elinewidth=0.8,
            label=label if name != OURS else None,
        )
    axes.set_yticks(range(len(spreads)), [f"{name} (one process)" if name == LOCAL else name for name in spreads])
    axes.grid(axis="y", linewidth=0.3)
    _logarithmic(axes)


def _logarithmic(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _throughput(results: Results) -> Figure | None:
    measured = _of_peers(results, "")
    if not measured:
        return None
    rates = {
        name: Spread.of([one.client.values / one.client.seconds / 1000 for one in all_of_it])
        for name, all_of_it in measured.items()
    }
    figure, (axes,) = _figure()
    _dots(axes, dict(sorted(rates.items(), key=lambda item: item[1].median)), "o", "")
    axes.set_xlabel("thousand integers/s, one by one (median, lowest and highest)")
    return figure


def _latency(results: Results) -> Figure | None:
    measured = _of_peers(results, "-round-trip")
    if not measured:
        return None

    def at(percent: int) -> dict[str, Spread]:
        return {
            name: Spread.of([one.client.percentiles[percent] * 1e6 for one in all_of_it])
            for name, all_of_it in sorted(
                measured.items(),
                key=lambda item: -statistics.median(one.client.percentiles[50] for one in item[1]),
            )
        }

    figure, (axes,) = _figure()
    _dots(axes, at(50), "o", "half of the round trips take less")
    _dots(axes, at(99), "|", "99 %")
    axes.set_xlabel("µs")
    handles = {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    axes.legend(handles.values(), handles.keys(), frameon=False)
    return figure


def _distribution(results: Results) -> Figure | None:
    measured = _of_peers(results, "-round-trip")
    if not measured:
        return None
    figure, (axes,) = _figure()
    for name, all_of_it in measured.items():
        middle = [
            statistics.median(at) * 1e6 for at in zip(*(one.client.percentiles for one in all_of_it), strict=True)
        ]
        ours = name == OURS
        axes.plot(
            middle[:100], range(100), label=name, color=OUR_COLOUR if ours else None, linewidth=2.5 if ours else 1
        )
    _logarithmic(axes)
    axes.set_xlabel("µs of a round trip")
    axes.set_ylabel("% take less")
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    return figure
