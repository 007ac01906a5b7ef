"""Every width from 2 to 8 bits: a row each, costs with their doubt, and the trends they carry."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from deepcompress import params
from deepcompress.data.store import Fit, Meta
from deepcompress.models.vgg import VGG
from deepcompress.quantization import widths
from deepcompress.quantization.settings import Quant
from deepcompress.training.run import Data
from tests.quantization.conftest import CLASSES, VIEW, _batches, _network
from tests.quantization.test_settings import GOOD


class Images(Data):
    """Random images in place of a folder."""

    images = Fit(  # type: ignore[assignment]
        _batches(40).arrays, _batches(60).arrays, Meta(CLASSES, 32, VIEW.mean, VIEW.std, {}, "random", "none")
    )


@pytest.fixture(scope="module")
def source() -> VGG:
    return _network()


@pytest.fixture(scope="module")
def rows(source: VGG) -> list[dict[str, Any]]:
    quant = params.validate(Quant, GOOD | {"clipping": "weight_error", "group_size": 16}, "quant")
    return widths.measure(source, Images(Path(), VIEW), quant, seed=0)


def test_every_width_is_measured_per_channel_and_per_group(rows: list[dict[str, Any]]) -> None:
    assert [(row["granularity"], row["bits"]) for row in rows] == [
        (granularity, bits) for granularity in ("channel", "group") for bits in range(2, 9)
    ]
    assert {row["n"] for row in rows} == {60}


def test_the_model_stays_as_it_is(source: VGG, rows: list[dict[str, Any]]) -> None:
    assert all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(source.state_dict().values(), _network().state_dict().values(), strict=True)
    )
    assert rows


def test_more_bits_err_less_and_groups_cost_bits(rows: list[dict[str, Any]]) -> None:
    errors = [row["output_error_relative"] for row in rows[:7]]
    assert errors == sorted(errors, reverse=True)
    assert all(channel["bits_per_weight"] < group["bits_per_weight"]
               for channel, group in zip(rows[:7], rows[7:], strict=True))  # fmt: skip


def test_trends_rest_on_points_told_apart_from_zero(rows: list[dict[str, Any]]) -> None:
    rows = [dict(row) for row in rows]
    lines = widths.trends(rows)
    assert [(line["granularity"], line["cost"]) for line in lines] == [
        (granularity, cost) for granularity in ("channel", "group") for cost in widths.COSTS
    ]
    error = lines[0]
    assert error["points"] == 7
    assert -1.6 < error["slope_per_bit"] < -0.6
    for row in rows[:7]:
        assert row["output_error_relative"] == pytest.approx(
            row["output_error_relative_trend"] * 2 ** row["output_error_relative_residual"], rel=1e-2
        )


def test_a_trend_that_nothing_carries_is_empty() -> None:
    named = {"granularity": "channel"}
    costs = dict.fromkeys(widths.COSTS, 0.1) | {f"{cost}_told_apart": False for cost in widths.COSTS}
    rows = [named | costs | {"bits": bits} for bits in (2, 3, 4)]
    lines = widths.trends(rows)
    assert {line["points"] for line in lines} == {0}
    assert all(line["slope_per_bit"] is None for line in lines)
    assert all(row["loss_increase_trend"] is row["loss_increase_residual"] is None for row in rows)


def test_without_groups_there_are_rows_per_channel_alone(source: VGG) -> None:
    quant = params.validate(Quant, GOOD | {"clipping": "none", "group_size": None}, "quant")
    found = widths.measure(source, Images(Path(), VIEW), quant, seed=0)
    assert {row["granularity"] for row in found} == {"channel"}


def test_costs_by_hand() -> None:
    before, labels = torch.tensor([[9.0, 0.0]] * 20), torch.zeros(20, dtype=torch.long)
    after = before.clone()
    after[:8] = torch.tensor([0.0, 9.0])
    found = widths._costs(before, labels, after)
    assert found["accuracy_drop_points"] == 40.0
    assert found["accuracy_drop_p"] == pytest.approx(2 / 2**8, rel=1e-3)
    assert found["accuracy_drop_points_told_apart"]
    assert found["loss_increase"] == pytest.approx(0.4 * 9, rel=1e-3)
    assert found["loss_increase_low"] > 0
    same = SimpleNamespace(**widths._costs(before, labels, before))
    assert not same.output_error_relative_told_apart
    assert not same.loss_increase_told_apart
    assert not same.accuracy_drop_points_told_apart
