"""Which layer gets which format."""

from __future__ import annotations

import pytest

from deepcompress.errors import UserError
from deepcompress.models.vgg import prunable_layers
from deepcompress.quantization.assign import assign, find


@pytest.mark.parametrize("name", ["fp16", "bf16", "fp32", "int2", "int8"])
def test_a_format_has_the_name_that_it_is_found_by(name: str) -> None:
    assert find(name).name == name


def test_convolutions_and_linear_layers_all_get_the_format(network) -> None:
    model = network()
    formats = assign(model, "int4", group_size=16)
    assert list(formats) == list(prunable_layers(model))
    assert set(formats.values()) == {find("int4", 16)}


def test_wide_integers_have_one_scale_per_output_channel(network) -> None:
    assert set(assign(network(), "int8", group_size=16, channel_bits=8).values()) == {find("int8")}
    assert set(assign(network(), "int7", group_size=16, channel_bits=8).values()) == {find("int7", 16)}


def test_the_first_and_the_last_layer_may_have_widths_of_their_own(network) -> None:
    formats = list(assign(network(), "int4", first_bits=8, last_bits=16, float16="bf16").values())
    assert [form.name for form in formats] == ["int8", *["int4"] * 9, "bf16"]


def test_own_widths_are_for_integers(network) -> None:
    assert {form.name for form in assign(network(), "fp16", first_bits=8).values()} == {"fp16"}


def test_a_format_that_does_not_exist_is_refused(network) -> None:
    with pytest.raises(UserError, match="int2 to int8; got 'int12'"):
        assign(network(), "int12")
