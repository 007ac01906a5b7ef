"""The estimate: a number worked by hand, and every preset in it."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from benchmarks.estimate import Network, main, training
from deepcompress.training.recipe import Recipe

COMMON = {"epochs": 2, "batch_size": 10, "optimizer": "adam", "learning_rate": 0.1, "weight_decay": 0.0}
COUNTS = {"images": 90, "validation": 10}
NETWORK = Network(macs=1000, values=50, widest=20, parameters=7)


def test_flops_and_bytes_of_a_training_are_those_worked_by_hand() -> None:
    found = training("finetune", NETWORK, Recipe(trainable="all", schedule="constant", **COMMON), **COUNTS, extra=5.0)
    assert found.flops == 2 * 1000 * (2 * 10 + 3 * 2 * 90) + 5
    assert found.size_bytes == 4 * (7 * 4 + 10 * 50)


def test_a_preset_is_estimated_on_every_device() -> None:
    result = CliRunner().invoke(main, ["quick"], catch_exceptions=False)
    assert result.exit_code == 0
    first, *rows = result.output.split("\n\n")[0].splitlines()
    assert first.startswith("preset quick: ")
    assert rows[0].endswith("8-core CPU | T4 | A100 | H100")
    sums = [float(row.split(" | ")[2]) for row in rows[1:]]
    assert sums[-1] == pytest.approx(sum(sums[:-1]), rel=0.01)
