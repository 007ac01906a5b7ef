"""Time several ways to do the same work in turn, in one process tree; print medians, quartiles and ratios.

On a shared machine the speed drifts from minute to minute. Ways that take turns drift together, so the ratio
within a round is steadier than the ratio of two separate runs; its quartiles tell how steady.
"""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def interleave(
    ways: Mapping[str, Callable[[], object]], repeats: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Seconds of each way in each round.

    Args:
        ways: What to run, by name; each call does all the work and waits for its end.
        repeats: Timed rounds; every second one runs in reverse order.
        warm_up: Whether an untimed round comes first.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values() if warm_up else ():
        way()
    for number in range(repeats):
        for name in list(ways) if number % 2 == 0 else reversed(list(ways)):
            start = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Round by round, over / under."""
    return [a / b for a, b in zip(over, under, strict=True)]


def spread(values: Sequence[float], unit: str = "") -> str:
    """Median and quartiles in words, such as `1.31x (1.25x to 1.40x)`."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    digits = 0 if low >= 100 else 1 if low >= 10 else 2
    return f"{median:,.{digits}f}{unit} ({low:,.{digits}f}{unit} to {high:,.{digits}f}{unit})"


def print_line(name: str, text: str) -> None:
    """One aligned line of a benchmark's result."""
    print(f"{name:<34} {text}", flush=True)


def print_rates(seconds: Mapping[str, Sequence[float]], *, amount: float, unit: str) -> None:
    """A line per way: how much of `unit` it does per second."""
    for name, values in seconds.items():
        print_line(name, spread([amount / value for value in values], f" {unit}/s"))


def print_speedup(seconds: Mapping[str, Sequence[float]], *, ours: str, plain: str) -> None:
    """How many times faster our way is than the plain one."""
    print_line(f"{ours} vs {plain}", spread(ratios(seconds[plain], seconds[ours]), "x"))


def print_machine(repeats: int) -> None:
    """Where the numbers that follow come from."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, load {load:.1f}")
    print(f"torch {torch.__version__}; median (quartiles) of {repeats} interleaved rounds", flush=True)


def _processor() -> str:
    names = Path("/proc/cpuinfo")
    lines = names.read_text(encoding="utf-8").splitlines() if names.exists() else []
    found = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.processor() or platform.machine()
