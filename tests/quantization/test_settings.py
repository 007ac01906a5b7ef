"""The `quant` section: what a variant asks for; tests/test_sections.py has what it refuses."""

from typing import Any

import pytest

from deepcompress import params
from deepcompress.errors import UserError
from deepcompress.quantization.settings import Quant, require_format, split, task
from tests.house import ROOT
from tests.nets import RECIPE

GOOD: dict[str, Any] = params.read(ROOT / "params.yaml")["quant"] | {
    "float16": "bf16",
    "rounding": "nearest",
    "calibration": {"samples": 64, "inputs": 128, "batch_size": 32},
    "qat": RECIPE | {"epochs": 1, "batch_size": 8, "schedule": "cosine", "steps": "fixed"},
    "sweep": ["ptq-int4", "qat-int4", "qat-fp32"],
}


def section(**changes: Any) -> Quant:
    return params.validate(Quant, GOOD | changes, "quant")


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8, 16])
def test_every_width_that_exists_is_taken_also_as_a_list_of_one(bits: int) -> None:
    assert section(bits=bits).bits == section(bits=[bits]).bits == bits


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
