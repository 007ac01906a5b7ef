"""The benchmark of distillation on tiny networks: equal students both ways, whatever their speed."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from benchmarks.distill import METHODS, Distilling, main


@pytest.mark.parametrize("method", METHODS)
def test_both_ways_train_the_same_student(method: str) -> None:
    course = Distilling(method, images=24, batch_size=8, width=1 / 64, epochs=2)
    course.ours()
    course.plain()
    assert course.largest_difference() < 1e-3


def test_the_command_prints_rates_the_ratio_and_the_difference() -> None:
    few = ["--method", "logit", "--images", "16", "--batch-size", "8", "--width", "0.02", "--epochs", "1"]
    result = CliRunner().invoke(main, [*few, "--repeats", "1"], catch_exceptions=False)
    assert result.exit_code == 0
    for wanted in ("logit, ours  ", "logit, plain  ", "logit, ours vs logit, plain", "largest difference"):
        assert wanted in result.output
