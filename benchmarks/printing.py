"""What benchmarks print of ways that took turns (`measure.passes.interleaved`): medians, quartiles and ratios.

On a shared machine the speed drifts from minute to minute. Ways that take turns drift together, so the ratio
within a round is steadier than the ratio of two separate runs; its quartiles tell how steady.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from deepcompress.deploy.benchmark import processor
from deepcompress.measure.passes import MS_PER_SECOND

Times = Mapping[str, np.ndarray]
"""Name of a way -> milliseconds of each round."""


def spread(values: Sequence[float] | np.ndarray, unit: str = "") -> str:
    """Median and quartiles in words, such as `1.31x (1.25x to 1.40x)`."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    digits = 0 if low >= 100 else 1 if low >= 10 else 2
    return f"{median:,.{digits}f}{unit} ({low:,.{digits}f}{unit} to {high:,.{digits}f}{unit})"


def print_line(name: str, text: str) -> None:
    """One aligned line of a benchmark's result."""
    print(f"{name:<34} {text}", flush=True)


def print_rates(times: Times, *, amount: float, unit: str) -> None:
    """A line per way: how much of `unit` it does per second."""
    for name, values in times.items():
        print_line(name, spread(amount * MS_PER_SECOND / values, f" {unit}/s"))


def print_speedup(times: Times, *, ours: str, plain: str) -> None:
    """How many times faster our way is than the plain one, round by round."""
    print_line(f"{ours} vs {plain}", spread(times[plain] / times[ours], "x"))


def print_machine(repeats: int) -> None:
    """Where the numbers that follow come from."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, load {load:.1f}")
    print(f"torch {torch.__version__}; median (quartiles) of {repeats} interleaved rounds", flush=True)
