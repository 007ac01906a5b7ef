"""More data than memory: the same results from images in a file, and a peak that the budget bounds, not the data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deepcompress import runtime
from tests import memory
from tests.house import ROOT

BUDGET_MIB = memory.PART_MIB // 4
ALLOWANCE_MIB = 20  # batches on their way, model, optimizer, what torch and Python keep
AMPLE_MIB = 16 * memory.PART_MIB
REAL = [name for name in memory.CONSUMERS if name != "load_whole"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def start(folder: Path, mib: int) -> subprocess.Popen[str]:
    """All consumers in a process of their own, with that budget."""
    folder.mkdir()
    environment = {**os.environ, runtime.SCRATCH_VARIABLE: ".scratch", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.memory", "measured.json", str(mib)],
        cwd=folder,
        env={**environment, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    """By budget, then by consumer, from two processes at the same time."""
    folder = tmp_path_factory.mktemp("memory")
    running = {mib: start(folder / str(mib), mib) for mib in (BUDGET_MIB, AMPLE_MIB)}
    for process in running.values():
        printed = process.communicate(timeout=500)[0]
        assert process.returncode == 0, printed
    return {mib: json.loads((folder / str(mib) / "measured.json").read_text()) for mib in running}


@pytest.mark.parametrize("consumer", REAL)
def test_data_of_four_times_the_budget_gives_the_same_result_within_it(measured: dict[int, Any], consumer: str) -> None:
    assert measured[BUDGET_MIB][consumer]["checksum"] == measured[AMPLE_MIB][consumer]["checksum"]
    assert measured[BUDGET_MIB][consumer]["peak_mib"] < BUDGET_MIB + ALLOWANCE_MIB


def test_the_peak_shows_images_that_are_loaded_whole(measured: dict[int, Any]) -> None:
    assert BUDGET_MIB + ALLOWANCE_MIB < memory.PART_MIB
    assert measured[BUDGET_MIB]["load_whole"]["peak_mib"] > memory.PART_MIB / 2
    for consumer in ("recolour", "sample"):  # copies within the budget are in memory
        assert measured[AMPLE_MIB][consumer]["peak_mib"] > memory.PART_MIB / 2
