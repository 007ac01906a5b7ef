"""The benchmark of mapped images runs, and its batches are the same."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from benchmarks import memory


@pytest.mark.parametrize("train", [[], ["--train"]])
def test_it_prints_rates_ratios_and_that_the_bits_are_the_same(train: list[str]) -> None:
    shown = CliRunner().invoke(memory.main, ["--images", "24", "--repeats", "1", "--batch-size", "8", *train])
    assert shown.exit_code == 0, shown.output
    assert "memory-mapped vs in memory" in shown.output
    assert shown.output.splitlines()[-1].split() == ["same", "bits", "True"]
