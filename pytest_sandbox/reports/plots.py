"""Plots of measured times, as inline SVG: each sample is a mark on a scale that all executors share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_sandbox.guarantees.results import ExecutorAudit
from pytest_sandbox.reports.text import seconds

__all__ = ["Chart", "Strip", "charts", "percentile"]

WIDTH: Final = 420
HEIGHT: Final = 26
_MARGIN: Final = 8
_MOST_MARKS: Final = 60


@dataclass(frozen=True)
class Strip:
    """The times of one executor.

    Attributes:
        executor: its name.
        count: how many samples there are.
        p50: seconds that half of them took at most.
        p95: seconds that 95 % of them took at most.
        svg: the plot, without scripts or styles of its own.
    """

    executor: str
    count: int
    p50: float
    p95: float
    svg: str


@dataclass(frozen=True)
class Chart:
    """What was timed, for all executors.

    Attributes:
        id: such as "start".
        title: what was timed.
        axis: the scale, as SVG.
        strips: one for each executor that has samples.
    """

    id: str
    title: str
    axis: str
    strips: tuple[Strip, ...]


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the smallest sample that this share of the samples does not exceed (the nearest rank: no time is made up)."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def charts(executors: Iterable[ExecutorAudit]) -> list[Chart]:
    """Return one chart for each kind of latency, in the order in which the executors name them."""
    titles: dict[str, str] = {}
    found: dict[str, list[tuple[str, tuple[float, ...]]]] = {}
    for executor in executors:
        for latency in executor.latencies:
            usable = tuple(sample for sample in latency.seconds if math.isfinite(sample) and sample > 0)
            if usable:
                titles.setdefault(latency.id, latency.title)
                found.setdefault(latency.id, []).append((executor.name, usable))
    return [_chart(id_, titles[id_], rows) for id_, rows in found.items()]


def _chart(id_: str, title: str, rows: list[tuple[str, tuple[float, ...]]]) -> Chart:
    scale = _Scale([sample for _, samples in rows for sample in samples])
    strips = tuple(
        Strip(name, len(samples), percentile(samples, 0.5), percentile(samples, 0.95), _strip(scale, samples))
        for name, samples in rows
    )
    return Chart(id_, title, _axis(scale), strips)


class _Scale:
    """A logarithmic scale with ticks at 1, 2 and 5, wide enough for all samples."""

    def __init__(self, samples: Sequence[float]) -> None:
        steps = [factor * 10.0**power for power in range(-6, 5) for factor in (1, 2, 5)]
        low = max((step for step in steps if step <= min(samples)), default=steps[0])
        high = min((step for step in steps if step >= max(samples)), default=steps[-1])
        if low == high:
            high = steps[min(steps.index(low) + 1, len(steps) - 1)]
        self._low, self._high = math.log(low), math.log(high)
        ticks = [step for step in steps if low <= step <= high]
        # So many that their labels do not touch: first the fives go, then the twos.
        if len(ticks) > 6:
            ticks = [step for step in ticks if _leading(step) in (1, 2)]
        if len(ticks) > 5:
            ticks = [step for step in ticks if _leading(step) == 1]
        self.ticks = ticks

    def x(self, value: float) -> float:
        """Return how far to the right a time stands."""
        share = (math.log(value) - self._low) / (self._high - self._low)
        return round(_MARGIN + min(max(share, 0.0), 1.0) * (WIDTH - 2 * _MARGIN), 1)


def _leading(step: float) -> int:
    return round(step / 10.0 ** math.floor(math.log10(step) + 1e-9))


def _axis(scale: _Scale) -> str:
    labels = []
    for tick in scale.ticks:
        x = scale.x(tick)
        anchor = "start" if x < 20 else "end" if x > WIDTH - 20 else "middle"
        labels.append(f'<text x="{x}" y="12" text-anchor="{anchor}">{_tick(tick)}</text>')
    return f'<svg class="axis" viewBox="0 0 {WIDTH} 16" aria-hidden="true">{"".join(labels)}</svg>'


def _tick(value: float) -> str:
    if value < 0.000_999:
        return f"{value * 1e6:g} µs"
    return f"{value * 1e3:g} ms" if value < 0.999 else f"{value:g} s"


def _strip(scale: _Scale, samples: tuple[float, ...]) -> str:
    p50, p95 = percentile(samples, 0.5), percentile(samples, 0.95)
    middle = HEIGHT / 2
    grid = "".join(f'<path class="grid" d="M{scale.x(tick)} 0V{HEIGHT}"/>' for tick in scale.ticks)
    stride = max(1, len(samples) // _MOST_MARKS)
    marks = "".join(f'<circle class="dot" cx="{scale.x(sample)}" cy="{middle}" r="2.6"/>' for sample in sorted(samples)[::stride])
    span = f'<path class="span" d="M{scale.x(min(samples))} {middle}H{scale.x(max(samples))}"/>'
    fifty = f'<path class="p50" d="M{scale.x(p50)} 3V{HEIGHT - 3}"/>'
    x = scale.x(p95)
    ninety_five = f'<path class="p95" d="M{x} {middle - 6}l5 6l-5 6l-5 -6z"/>'
    label = f"{seconds(p50)} at the median, {seconds(p95)} at the 95th percentile of {len(samples)}"
    return (
        f'<svg class="strip" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"{grid}{span}{marks}{fifty}{ninety_five}</svg>"
    )
