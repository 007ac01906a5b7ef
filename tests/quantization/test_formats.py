"""A contract over all formats, and hand-worked numbers of each."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress import params
from deepcompress.models.quantized_weight import Format, dequantize, rows, split
from deepcompress.quantization.formats import intn
from deepcompress.quantization.quantize import find
from deepcompress.quantization.settings import FLOATS, FORMATS
from tests.nets import weight_of

NAMES = sorted({*FLOATS, *params.plugins(FORMATS)} - {"floats", "intn"}) + [f"int{bits}" for bits in range(2, 9)]
ALL = [find(name) for name in NAMES] + [find(f"int{bits}", 16) for bits in range(2, 9)]
SHAPES = [(4, 3, 3, 3), (3, 40), (2, 1), (5, 37)]


@pytest.fixture(params=ALL, ids=lambda form: f"{form.name}-{getattr(form, 'group_size', None)}")
def form(request: pytest.FixtureRequest) -> Format:
    return request.param


@pytest.mark.parametrize("shape", SHAPES)
def test_every_encoding_gives_back_the_quantized_weight_in_any_layout(form: Format, shape: tuple[int, ...]) -> None:
    weight = weight_of(shape)
    quantized = form.quantize(weight)
    rounded = dequantize(quantized)
    assert (rounded.dtype, rounded.shape) == (torch.float32, weight.shape)
    for encoded in form.encodings(quantized):
        decode = params.plugin("models.encodings", encoded.encoding).decode
        assert torch.equal(dequantize(decode(encoded.parts, rounded.shape, torch.float32)), rounded)
    if len(shape) == 4:
        assert torch.equal(dequantize(form.quantize(weight.to(memory_format=torch.channels_last))), rounded)


def test_zeros_stay_zeros(form: Format) -> None:
    weight = weight_of((4, 37))
    weight[torch.rand(weight.shape, generator=torch.Generator().manual_seed(1)) < 0.5] = 0
    weight[1] = 0
    rounded = dequantize(form.quantize(weight))
    assert (rounded[weight == 0] == 0).all()
    assert torch.isfinite(rounded).all()


@settings(max_examples=40, deadline=None)
@given(bits=st.integers(2, 8), size=st.sampled_from([None, 4, 16]), seed=st.integers(0, 2**31))
def test_integers_err_by_half_a_step_at_most_when_nothing_is_clipped(bits: int, size: int | None, seed: int) -> None:
    form, weight = intn.make(bits, size), weight_of((3, 37), seed)
    quantized = form.quantize(weight)
    errors = split(rows(quantized.dequantize() - weight).abs(), form.groups(weight))
    steps = quantized.scales.float()[..., None]
    assert (errors <= steps * (0.5 + 2 ** (bits - 12))).all()  # float16 moves the end of the grid by 2**-11
    assert form.overflows(weight, quantized) == 0


@pytest.mark.parametrize(
    ("name", "given", "stored", "overflows"),
    [
        ("fp16", 70000.0, 65504.0, 1),
        ("fp16", -1e30, -65504.0, 1),
        ("fp16", 1e-9, 0.0, 0),
        ("fp16", 1.0 + 2**-11, 1.0, 0),
        ("bf16", 1.0 + 2**-8, 1.0, 0),
        ("bf16", 70000.0, 70144.0, 0),
        ("bf16", 2.0**-30, 2.0**-30, 0),
        ("bf16", 3.4e38, 3.3895313892515355e38, 1),
        ("fp32", 1e-30, 1.0000000031710769e-30, 0),
    ],
)
def test_floating_point_formats_saturate_and_round_to_nearest_even(
    name: str, given: float, stored: float, overflows: int
) -> None:
    form, weight = find(name), torch.tensor([[given]])
    quantized = form.quantize(weight)
    assert dequantize(quantized).item() == stored
    assert form.overflows(weight, quantized) == overflows
