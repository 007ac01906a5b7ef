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

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")


def start(folder: Path, mib: int) -> subprocess.Popen[str]:
    """All consumers in a process of their own, with that budget."""
    folder.mkdir()
    (folder / "params.yaml").write_text(f"data:\n  device_budget_mib: {mib}\n")
    environment = {**os.environ, runtime.SCRATCH_VARIABLE: ".scratch", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.memory", "found.json"],
        cwd=folder,
        env={**environment, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    """By budget, then by consumer, from two processes at the same time."""
    folder = tmp_path_factory.mktemp("memory")
    running = {mib: start(folder / str(mib), mib) for mib in (BUDGET_MIB, AMPLE_MIB)}
    for process in running.values():
        printed = process.communicate(timeout=500)[0]
        assert process.returncode == 0, printed
    return {mib: json.loads((folder / str(mib) / "found.json").read_text()) for mib in running}


@pytest.mark.parametrize("consumer", memory.CONSUMERS)
def test_data_of_four_times_the_budget_gives_the_same_result(found: dict[int, Any], consumer: str) -> None:
    assert found[BUDGET_MIB][consumer]["checksum"] == found[AMPLE_MIB][consumer]["checksum"]


@pytest.mark.parametrize("consumer", memory.CONSUMERS)
def test_the_peak_stays_within_budget_and_allowance(found: dict[int, Any], consumer: str) -> None:
    assert found[BUDGET_MIB][consumer]["peak_mib"] < BUDGET_MIB + ALLOWANCE_MIB


@pytest.mark.parametrize("consumer", ["train", "train_head", "evaluate"])
def test_the_peak_shows_images_that_are_loaded_whole(found: dict[int, Any], consumer: str) -> None:
    assert BUDGET_MIB + ALLOWANCE_MIB < memory.PART_MIB
    assert found[AMPLE_MIB][consumer]["peak_mib"] > memory.PART_MIB
