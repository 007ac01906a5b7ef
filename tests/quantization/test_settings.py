"""The `quant` section: what it refuses and in which words, and what a variant asks for."""

from __future__ import annotations

from typing import Any

import pytest

from deepcompress import params
from deepcompress.errors import UserError
from deepcompress.quantization.settings import Quant, require_format, split, task

GOOD: dict[str, Any] = {
    "bits": 8,
    "mode": "ptq",
    "float16": "bf16",
    "group_size": 32,
    "channel_bits": 8,
    "first_bits": None,
    "last_bits": None,
    "clipping": "output_error",
    "rounding": "nearest",
    "calibration": {"samples": 64, "inputs": 128, "batch_size": 32},
    "qat": {
        "trainable": "all",
        "epochs": 1,
        "batch_size": 8,
        "optimizer": "adamw",
        "learning_rate": 1e-4,
        "weight_decay": 0.05,
        "schedule": "cosine",
        "steps": "fixed",
    },
    "sweep": ["ptq-int4", "qat-int4", "qat-fp32"],
}


def section(**changes: Any) -> Quant:
    return params.validate(Quant, GOOD | changes, "quant")


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8, 16])
def test_every_width_that_exists_is_taken_also_as_a_list_of_one(bits: int) -> None:
    assert section(bits=bits).bits == section(bits=[bits]).bits == bits


@pytest.mark.parametrize("bits", [1, 9, 0, -4, 32, "four", "4", 4.5, True, None])
def test_other_widths_end_in_one_line(bits: Any) -> None:
    with pytest.raises(UserError, match=r"params.yaml: quant.bits must be one of 2..8 or 16, got ") as raised:
        section(bits=bits)
    assert params.shown(bits) in str(raised.value)


def test_several_widths_are_answered_with_how_to_queue_them() -> None:
    with pytest.raises(UserError, match=r"dvc exp run --queue -S quant.bits=3,4,8"):
        section(bits=[3, 4, 8])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first_bits": 1}, "quant.first_bits must be one of 2..8 or 16, got 1"),
        ({"sweep": ["ptq-int9"]}, ", int2 to int8; got 'int9'"),
        ({"sweep": ["int4"]}, "ptq-<format> or qat-<format>, got 'int4'"),
        ({"sweep": ["ptq-fp32"]}, "the float control is qat-fp32"),
        ({"sweep": ["ptq-int4", "ptq-int4"]}, "must differ from each other"),
        ({"sweep": ["qat-int4"]}, "qat-int4 is compared with qat-fp32, which is not there"),
        ({"sweep": []}, "quant.sweep"),
    ],
)
def test_a_mistake_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        section(**changes)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "variant"),
    [
        ({}, "ptq-int8"),
        ({"bits": 4, "mode": "qat"}, "qat-int4"),
        ({"bits": 16}, "ptq-bf16"),
        ({"bits": 16, "float16": "fp16"}, "ptq-fp16"),
    ],
)
def test_the_shipped_model_follows_the_scalars(changes: dict[str, Any], variant: str) -> None:
    assert section(**changes).shipped == variant
    assert (task(section(**changes)).mode, task(section(**changes)).format) == split(variant)


def test_a_variant_does_not_depend_on_what_the_shipped_model_is() -> None:
    assert task(section(bits=4), "qat-int8") == task(section(bits=8, mode="qat"), "qat-int8")


def test_a_task_keeps_only_what_it_uses() -> None:
    assert task(section(), "ptq-int4").qat is None
    assert task(section(), "qat-int4").qat == section().qat
    assert task(section(clipping="weight_error")).calibration is None
    assert task(section(clipping="weight_error", rounding="gptq")).calibration == section().calibration


@pytest.mark.parametrize("name", ["floats", "intn", "int", "int1", "int16", "_cast", "FP16", ""])
def test_a_format_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="int2 to int8"):
        require_format(name)
