"""Timing, rows and tables."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

#: The table `[limits]` of daemons whose speed is measured: the clients of a benchmark are one client.
UNLIMITED: Final = {
    "calls_in_flight": 0,
    "calls_per_second": 0,
    "requests_per_second": 0,
    "handshakes_per_second": 0,
    "connections_per_second": 0,
    "connections": 0,
}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison. `ratio` is `value` over `yardstick`; `better` says which way is good."""

    bench: str
    case: str
    unit: str
    value: float
    yardstick: float
    yardstick_name: str
    better: str = "lower"
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times the yardstick."""
        return self.value / self.yardstick if self.yardstick else float("nan")


def per_call(function: Callable[[], Any], *, seconds: float = 0.5, rounds: int = 5) -> float:
    """The median over `rounds` of the mean time of one call, in seconds; about `seconds` in all."""
    function()
    once = _timed(function, 1)
    count = max(1, int(seconds / rounds / max(once, 1e-7)))
    return statistics.median(_timed(function, count) / count for _ in range(rounds))


def pair(
    subject: Callable[[], Any], yardstick: Callable[[], Any], *, seconds: float = 1.0, rounds: int = 5
) -> tuple[float, float]:
    """Seconds per call of both, measured in turn, so that a drift of the machine hits both alike."""
    subject(), yardstick()
    counts = [
        max(1, int(seconds / 2 / rounds / max(_timed(function, 1), 1e-7)))
        for function in (subject, yardstick)
    ]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        times[0].append(_timed(subject, counts[0]) / counts[0])
        times[1].append(_timed(yardstick, counts[1]) / counts[1])
    return statistics.median(times[0]), statistics.median(times[1])


def _timed(function: Callable[[], Any], count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        function()
    return time.perf_counter() - begin


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def table(rows: list[Row]) -> str:
    """The rows as text."""
    header = ("benchmark", "case", "value", "yardstick", "ratio", "unit", "against")
    cells = [
        (
            row.bench,
            row.case,
            f"{row.value:,.6g}",
            f"{row.yardstick:,.6g}",
            f"{row.ratio:.2f}",
            row.unit,
            row.yardstick_name + (f" ({row.note})" if row.note else ""),
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in (header, *cells)) for column in range(len(header))]
    right = {2, 3, 4}
    lines = [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (header, *cells)
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
