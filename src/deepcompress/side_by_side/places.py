"""Where commands run side by side: each with its share of the cores, and a GPU of its own where there are several."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping

THREADS_VARIABLE = "OMP_NUM_THREADS"
GPUS_VARIABLE = "CUDA_VISIBLE_DEVICES"
MOST = 8  # places without being asked: a stage takes about a gigabyte of memory


def places(jobs: int | None, environment: Mapping[str, str]) -> list[Mapping[str, str]]:
    """What the environment of each place has besides that of this process.

    Args:
        jobs: How many; None: one for each GPU, or without GPUs one for each core, up to MOST.
        environment: Of this process. A number of threads that it names stays; GPUs that it hides stay hidden.
    """
    gpus, cores = _gpus(environment), _cores()
    count = jobs or len(gpus) or min(cores, MOST)
    threads = environment.get(THREADS_VARIABLE, str(max(1, cores // count)))
    found: list[Mapping[str, str]] = []
    for place in range(count):
        own = {GPUS_VARIABLE: gpus[place % len(gpus)]} if gpus else {}
        found.append({THREADS_VARIABLE: threads, **own})
    return found


def _cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus(environment: Mapping[str, str]) -> list[str]:
    """Names of NVIDIA's GPUs as CUDA_VISIBLE_DEVICES takes them; asked of the driver, since torch takes a second."""
    if GPUS_VARIABLE in environment:
        return [name for name in environment[GPUS_VARIABLE].split(",") if name.strip()]
    program = shutil.which("nvidia-smi")
    if not program:
        return []
    listed = subprocess.run([program, "-L"], capture_output=True, text=True, check=False)
    return [str(place) for place, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]
