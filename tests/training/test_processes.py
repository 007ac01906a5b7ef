"""Two processes train as one does: the same weights but for the order in which numbers are added."""

from typing import Any

import pytest
import torch

from tests import processes
from tests.training.several import CASES, main

ABSOLUTE = 1e-5
EXACT = [name for name in CASES if name not in {"adamw", "bf16"}]


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    """What every case ends with, on this one process and on two that Fabric starts."""
    folder = tmp_path_factory.mktemp("several")
    files = {count: folder / f"{count}.pt" for count in (1, 2)}
    running = processes.start(folder, "-m", "tests.training.several", "2", str(files[2]))
    main("1", str(files[1]))
    printed = running.communicate()[0]
    assert running.returncode == 0, printed[-4000:]
    return {count: torch.load(path, weights_only=True) for count, path in files.items()}


def differences(ends: dict[int, Any], name: str) -> dict[str, torch.Tensor]:
    """Of each tensor, by how much its elements differ."""
    one, two = (ends[count][name]["weights"] for count in (1, 2))
    assert one.keys() == two.keys()
    return {key: (tensor.double() - two[key].double()).abs() for key, tensor in one.items()}


@pytest.mark.parametrize("name", EXACT)
def test_two_processes_end_with_the_weights_of_one(ends: dict[int, Any], name: str) -> None:
    assert max(far.max() for far in differences(ends, name).values()) < ABSOLUTE
    for one, two in zip(ends[1][name]["history"], ends[2][name]["history"], strict=True):
        assert two == pytest.approx(one, abs=ABSOLUTE)


def test_a_step_of_adamw_is_that_of_one_process(ends: dict[int, Any]) -> None:
    """Its first step is the rate times the gradient's sign: where the gradient is rounding error, it may turn."""
    rate = CASES["adamw"]["learning_rate"]
    far = {key: far.flatten() for key, far in differences(ends, "adamw").items() if "running" not in key}
    assert max(values.max() for values in far.values()) < 2.01 * rate
    matrices = torch.cat([values for key, values in far.items() if len(values) > 64])
    assert (matrices < 0.01 * rate).double().mean() > 0.9


def test_mixed_precision_ends_alike_within_its_own_rounding(ends: dict[int, Any]) -> None:
    weights = ends[2]["bf16"]["weights"]
    assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in weights.values())
    one, two, exact = (
        ends[count][name]["weights"] for count, name in ((1, "bf16"), (2, "bf16"), (1, "bf16_in_32_bits"))
    )
    assert CASES["bf16"] == CASES["bf16_in_32_bits"]
    assert _distance(one, two) < 4 * _distance(one, exact)  # two roundings of the same size, apart from each other


def _distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return sum((one[name].double() - other[name].double()).square().sum().item() for name in one) ** 0.5
