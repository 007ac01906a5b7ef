"""The benchmark of frozen layers on a tiny network: equal weights both ways, whatever their speed."""

from __future__ import annotations

from click.testing import CliRunner

from benchmarks.frozen import HeadTraining, main


def test_both_ways_train_the_same_head():
    training = HeadTraining(40, size=32, batch_size=16, width=1 / 64)
    training.ours()
    training.plain()
    assert training.largest_difference() < 1e-5


def test_the_command_prints_rates_the_ratio_and_the_difference():
    chosen = ["--images", "16", "--size", "32", "--batch-size", "8", "--width", "0.02", "--repeats", "1"]
    result = CliRunner().invoke(main, chosen, catch_exceptions=False)
    assert result.exit_code == 0
    for wanted in ("ours  ", "plain  ", "ours vs plain", "largest difference"):
        assert wanted in result.output
