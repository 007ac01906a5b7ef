"""Two processes train as one does: the same weights but for the order in which numbers are added."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from tests.house import ROOT
from tests.training.several import CASES, network

ABSOLUTE = 1e-5
SECONDS_ALLOWED = 240.0
EXACT = [name for name in CASES if name not in {"adamw", "bf16"}]


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    """What every case ends with, on one process and on two that Fabric starts."""
    folder = tmp_path_factory.mktemp("several")
    command = [sys.executable, "-m", "tests.training.several"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    running = {
        count: subprocess.Popen(
            [*command, str(count), str(folder / f"{count}.pt")],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for count in (1, 2)
    }
    for process in running.values():
        printed = process.communicate(timeout=SECONDS_ALLOWED)[0]
        assert process.returncode == 0, printed[-4000:]
    return {count: torch.load(folder / f"{count}.pt", weights_only=True) for count in running}


def furthest(ends: dict[int, Any], name: str) -> dict[str, float]:
    """The largest difference of each tensor."""
    one, two = (ends[count][name]["weights"] for count in (1, 2))
    assert one.keys() == two.keys()
    return {key: (tensor.double() - two[key].double()).abs().max().item() for key, tensor in one.items()}


@pytest.mark.parametrize("name", EXACT)
def test_two_processes_end_with_the_weights_of_one(ends: dict[int, Any], name: str) -> None:
    assert max(furthest(ends, name).values()) < ABSOLUTE
    for one, two in zip(ends[1][name]["history"], ends[2][name]["history"], strict=True):
        assert two == pytest.approx(one, abs=ABSOLUTE)


def test_adamw_lets_stray_only_what_has_no_gradient(ends: dict[int, Any]) -> None:
    """A convolution's bias before batch norm changes nothing; AdamW makes whole steps of its gradient's last digits."""
    idle = {name for name in ends[1]["adamw"]["weights"] if _no_matter(name)}
    assert max(far for name, far in furthest(ends, "adamw").items() if name not in idle) < ABSOLUTE
    for one, two in zip(ends[1]["adamw"]["history"], ends[2]["adamw"]["history"], strict=True):
        assert two == pytest.approx(one, abs=1e-4)


def _no_matter(name: str) -> bool:
    return name.startswith("features.") and name.endswith((".bias", ".running_mean")) and not _is_shift(name)


def _is_shift(name: str) -> bool:
    """Whether a bias is batch norm's, which stands one place behind its convolution's."""
    place = int(name.split(".")[1])
    return name.endswith(".bias") and place in {1, 5, 9, 12, 16, 19, 23, 26}


def test_mixed_precision_ends_alike_within_its_own_rounding(ends: dict[int, Any]) -> None:
    weights = ends[2]["bf16"]["weights"]
    assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in weights.values())
    one, two, exact = (
        ends[count][name]["weights"] for count, name in ((1, "bf16"), (2, "bf16"), (1, "bf16_in_32_bits"))
    )
    assert CASES["bf16"] == CASES["bf16_in_32_bits"]
    assert 0 < _distance(one, two) < _distance(one, exact)


def _distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return sum((one[name].double() - other[name].double()).square().sum().item() for name in one) ** 0.5


def test_every_weight_has_moved(ends: dict[int, Any]) -> None:
    start = network(0).state_dict()
    end = ends[2]["even"]["weights"]
    assert not any(torch.equal(start[name], end[name]) for name in start)
