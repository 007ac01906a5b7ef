"""The benchmarks of batches and training on a few tiny images: right results, whatever the speed."""

from __future__ import annotations

import pytest
import torch
from click.testing import CliRunner

from benchmarks import train
from benchmarks.batches import largest_difference, main, random_arrays, vgg11


@pytest.mark.parametrize(("stored", "size"), [(8, 20), (16, 8), (8, 8)])
def test_both_ways_give_the_same_input_within_one_grey_level(stored, size):
    assert largest_difference(random_arrays(8, stored), size) <= 1 + 1e-3


def test_the_command_prints_rates_ratios_and_the_difference():
    chosen = ["--images", "8", "--stored", "8", "--size", "12", "--batch-size", "4", "--workers", "0"]
    result = CliRunner().invoke(main, [*chosen, "--repeats", "2"], catch_exceptions=False)
    assert result.exit_code == 0
    for wanted in ("ours  ", "plain, PIL", "ours vs ours, mapped", "ours vs plain, tensors", "grey levels"):
        assert wanted in result.output


@pytest.fixture
def unchanged_determinism():
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True


def test_flops_of_the_training_benchmark_equal_a_count_by_hand():
    model = vgg11(width=1.0, size=32, batch_norm=True)
    layers = ((3, 64, 32), (64, 128, 16), (128, 256, 8), (256, 256, 8), (256, 512, 4), (512, 512, 4))
    convolutions = [9 * inputs * outputs * side**2 for inputs, outputs, side in layers]
    macs = sum(convolutions) + 2 * 9 * 512 * 512 * 2**2 + 512 * 4096 + 4096**2 + 4096 * 100
    flops = train.count_flops(model, 10)
    assert flops["forward"] == 3 * 10 * 2 * macs
    assert flops["training"] == 10 * 2 * (3 * macs - convolutions[0])


@pytest.mark.usefixtures("unchanged_determinism")
def test_the_training_benchmark_runs_the_loop_and_prints_shares(monkeypatch):
    monkeypatch.setattr(train, "SIDES", (8, 16))
    chosen = ["--width", "0.02", "--hidden", "50", "--batch-size", "2", "--repeats", "2"]
    result = CliRunner().invoke(train.main, chosen, catch_exceptions=False)
    assert result.exit_code == 0
    assert result.output.count(" of matmul; wanted") == 2
