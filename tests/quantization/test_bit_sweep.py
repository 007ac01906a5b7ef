"""Every width from 2 to 8 bits: a row each, costs with their doubt, and trends where the points can carry them."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepcompress import params
from deepcompress.models.vgg import VGG
from deepcompress.quantization import bit_sweep
from deepcompress.quantization.settings import Quant
from deepcompress.training.run import TrainingRun
from tests.nets import VIEW, fit, same
from tests.quantization.conftest import network
from tests.quantization.test_settings import GOOD


class Images(TrainingRun):
    """Random images in place of a folder."""

    images = fit(40, 60)  # type: ignore[assignment]


@pytest.fixture(scope="module")
def source() -> VGG:
    return network()


@pytest.fixture(scope="module")
def rows(source: VGG) -> list[dict[str, Any]]:
    quant = params.validate(Quant, GOOD | {"clipping": "weight_error", "group_size": 16}, "quant")
    return bit_sweep.measure(source, Images(Path(), VIEW), quant, seed=0)


def test_every_width_is_measured_per_channel_and_per_group(source: VGG, rows: list[dict[str, Any]]) -> None:
    assert [(row["granularity"], row["bits"]) for row in rows] == [
        (granularity, bits) for granularity in ("channel", "group") for bits in range(2, 9)
    ]
    assert {row["n"] for row in rows} == {60}
    errors = [row["output_error_relative"] for row in rows[:7]]
    assert errors == sorted(errors, reverse=True)
    bits_per_weight = [row["bits_per_weight"] for row in rows]
    assert all(channel < group for channel, group in zip(bits_per_weight[:7], bits_per_weight[7:], strict=True))
    assert same(network().state_dict(), source.state_dict())


def test_trends_rest_on_points_significant_from_zero(rows: list[dict[str, Any]]) -> None:
    rows = [dict(row) for row in rows]
    lines = bit_sweep.trends(rows)
    assert [(line["granularity"], line["cost"]) for line in lines] == [
        (granularity, cost) for granularity in ("channel", "group") for cost in bit_sweep.COSTS
    ]
    error = lines[0]
    assert error["points"] == 7
    assert -1.6 < error["slope_per_bit"] < -0.6
    for row in rows[:7]:
        assert row["output_error_relative"] == pytest.approx(
            row["output_error_relative_trend"] * 2 ** row["output_error_relative_residual"], rel=1e-2
        )


def test_without_groups_there_are_rows_per_channel_alone(source: VGG) -> None:
    quant = params.validate(Quant, GOOD | {"clipping": "none", "group_size": None}, "quant")
    found = bit_sweep.measure(source, Images(Path(), VIEW), quant, seed=0)
    assert {row["granularity"] for row in found} == {"channel"}


def test_costs_by_hand() -> None:
    before, labels = torch.tensor([[9.0, 0.0]] * 20), torch.zeros(20, dtype=torch.long)
    after = before.clone()
    after[:8] = torch.tensor([0.0, 9.0])
    found = bit_sweep._costs(before, labels, after)
    assert found["accuracy_drop_points"] == 40.0
    assert found["accuracy_drop_p"] == 0.004678  # chi squared 8^2 / 8
    assert found["accuracy_drop_points_significant"]
    assert found["loss_increase"] == pytest.approx(0.4 * 9, rel=1e-3)
    assert found["loss_increase_low"] > 0
    same = SimpleNamespace(**bit_sweep._costs(before, labels, before))
    assert not same.output_error_relative_significant
    assert not same.loss_increase_significant
    assert not same.accuracy_drop_points_significant


@given(intercept=st.floats(-5, 5), slope=st.floats(-3, 3))
def test_an_exact_exponential_is_found_and_residuals_are_powers_of_two_beside_it(intercept, slope) -> None:
    bits = [2, 3, 5, 8]
    line = bit_sweep.trend(bits, [2 ** (intercept + slope * b) for b in bits], [True] * 4)
    assert (line.intercept, line.slope, line.residual_rms) == pytest.approx((intercept, slope, 0), abs=1e-6)
    assert line.at(4) == pytest.approx(2 ** (intercept + slope * 4), rel=1e-5)
    assert [line.residual(3, 2 * line.at(3)), line.residual(3, line.at(3) / 4)] == pytest.approx([1.0, -2.0])


@pytest.mark.parametrize(
    ("costs", "apart"),
    [([1.0, 0.5], [True, True]), ([1.0, 0.5, 0.2], [True, True, False]), ([1.0, 0.5, 0.0], [True] * 3)],
)
def test_two_points_carry_no_trend(costs: list[float], apart: list[bool]) -> None:
    assert bit_sweep.trend(range(2, 2 + len(costs)), costs, apart) is None
    rows = [
        {"granularity": "channel", "bits": bits, **dict.fromkeys(bit_sweep.COSTS, cost)}
        | {f"{name}_significant": told for name in bit_sweep.COSTS}
        for bits, (cost, told) in enumerate(zip(costs, apart, strict=True), 2)
    ]
    lines = bit_sweep.trends(rows)
    assert {line["points"] for line in lines} == {sum(apart)}
    assert all(line["slope_per_bit"] is None for line in lines)
    assert all(row["loss_increase_trend"] is row["loss_increase_residual"] is None for row in rows)


def test_residuals_are_summed_up_by_their_root_mean_square() -> None:
    bits, costs = [2, 3, 4, 5], [1.0, 0.6, 0.2, 0.13]
    line = bit_sweep.trend(bits, costs, [True] * 4)
    residuals = [line.residual(b, c) for b, c in zip(bits, costs, strict=True)]
    assert line.residual_rms == pytest.approx(math.sqrt(sum(r**2 for r in residuals) / 4))
