"""Plots show the samples, the median and the 95th percentile where they are, on a scale that executors share."""

from __future__ import annotations

import re

import pytest

from pytest_sandbox.guarantees.results import Audit, ExecutorAudit, Latency
from pytest_sandbox.reports.plots import WIDTH, charts, percentile


@pytest.mark.parametrize(
    ("samples", "p50", "p95"),
    [([3.0], 3.0, 3.0), ([1.0, 2.0], 1.0, 2.0), ([float(n) for n in range(1, 101)], 50.0, 95.0), ([5.0, 1.0, 3.0], 3.0, 5.0)],
)
def test_percentiles_are_samples(samples: list[float], p50: float, p95: float) -> None:
    assert (percentile(samples, 0.5), percentile(samples, 0.95)) == (p50, p95)


def test_one_scale_for_all_executors(audit: Audit) -> None:
    found = charts(audit.executors)
    assert [chart.id for chart in found] == ["start", "execution"]
    places = {}
    for strip in found[1].strips:
        assert strip.count == 40 and strip.p50 <= strip.p95
        (place,) = re.findall(r'class="p50" d="M([\d.]+) ', strip.svg)
        places[strip.executor] = float(place)
        assert f"of {strip.count}" in strip.svg and 'role="img"' in strip.svg
        assert all(0 <= float(x) <= WIDTH for x in re.findall(r'cx="([\d.]+)"', strip.svg))
    medians = {strip.executor: strip.p50 for strip in found[1].strips}
    assert sorted(places, key=places.__getitem__) == sorted(medians, key=medians.__getitem__)


@pytest.mark.parametrize("samples", [(0.001,), (1e-9, 1e9), (0.5, 0.5, 0.5), (0.0, -1.0, float("nan"), float("inf"), 0.2)])
def test_odd_samples_are_no_trouble(samples: tuple[float, ...]) -> None:
    executor = ExecutorAudit(name="x", kind="snippet", latencies=(Latency(id="a", title="A", seconds=samples),))
    (chart,) = charts([executor])
    (strip,) = chart.strips
    assert "nan" not in strip.svg and "inf" not in strip.svg and "nan" not in chart.axis
    assert 1 <= chart.axis.count("<text") <= 12


def test_without_samples_there_is_no_chart() -> None:
    assert charts([ExecutorAudit(name="x", kind="snippet", latencies=(Latency(id="a", title="A"),))]) == []
