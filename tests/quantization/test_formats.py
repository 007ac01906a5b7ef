"""A contract over all formats, hand-worked numbers of each, and torchao as the oracle of rounding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress import registry
from deepcompress.models import groups
from deepcompress.quantization.assign import find
from deepcompress.quantization.format import Format
from deepcompress.quantization.formats.intn import IntN
from deepcompress.quantization.settings import FORMATS

NAMES = [name for name in registry.names(FORMATS) if name != "intn"] + [f"int{bits}" for bits in range(2, 9)]
ALL = [find(name) for name in NAMES] + [find(f"int{bits}", 16) for bits in range(2, 9)]
SHAPES = [(4, 3, 3, 3), (3, 40), (2, 1), (5, 37)]


def weight_of(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=ALL, ids=lambda form: f"{form.name}-{getattr(form, 'group_size', None)}")
def form(request: pytest.FixtureRequest) -> Format:
    return request.param


@pytest.mark.parametrize("shape", SHAPES)
def test_rounding_twice_is_rounding_once(form: Format, shape: tuple[int, ...]) -> None:
    weight = weight_of(shape)
    scales = form.scales(weight)
    rounded = form.rounded(weight, scales)
    assert rounded.dtype == torch.float32
    assert rounded.shape == weight.shape
    assert torch.equal(form.rounded(rounded, scales), rounded)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_encoding_gives_back_the_rounded_weight(form: Format, shape: tuple[int, ...]) -> None:
    weight = weight_of(shape)
    scales = form.scales(weight)
    rounded = form.rounded(weight, scales)
    for encoded in form.encodings(rounded, scales):
        decode = registry.find("models.encodings", encoded.encoding).decode
        assert torch.equal(decode(encoded.parts, rounded.shape, torch.float32), rounded)


def test_the_dense_encoding_takes_the_format_s_bits(form: Format) -> None:
    weight = weight_of((16, 64))
    stored = form.encodings(form.rounded(weight, form.scales(weight)), form.scales(weight))
    if form.bits == 32:
        assert stored == []
    else:
        size = sum(part.numel() * part.element_size() for part in stored[0].parts.values())
        assert 8 * size == 16 * 64 * form.bits + 16 * 16 * form.groups(weight)


def test_zeros_stay_zeros(form: Format) -> None:
    weight = weight_of((4, 37))
    weight[torch.rand(weight.shape, generator=torch.Generator().manual_seed(1)) < 0.5] = 0
    weight[1] = 0
    rounded = form.rounded(weight, form.scales(weight))
    assert (rounded[weight == 0] == 0).all()
    assert torch.isfinite(rounded).all()


def test_a_layout_in_memory_changes_nothing(form: Format) -> None:
    weight = weight_of((4, 3, 3, 3))
    other = weight.to(memory_format=torch.channels_last)
    assert torch.equal(form.rounded(other, form.scales(other)), form.rounded(weight, form.scales(weight)))


@settings(max_examples=40, deadline=None)
@given(bits=st.integers(2, 8), size=st.sampled_from([None, 4, 16]), seed=st.integers(0, 2**31))
def test_integers_err_by_half_a_step_at_most_when_nothing_is_clipped(bits: int, size: int | None, seed: int) -> None:
    form, weight = IntN(bits, size), weight_of((3, 37), seed)
    scales = form.scales(weight)
    rows = groups.split((form.rounded(weight, scales) - weight).abs(), form.groups(weight))
    steps = scales.float()[..., None]
    assert (rows <= steps * (0.5 + 2 ** (bits - 12))).all()  # float16 moves the end of the grid by 2**-11
    assert form.overflows(weight, scales) == 0


@settings(max_examples=40, deadline=None)
@given(bits=st.integers(2, 8), seed=st.integers(0, 2**31))
def test_integers_equal_torchao_s_own_per_group(bits: int, seed: int) -> None:
    from torchao.quantization import quant_primitives as oracle

    form, weight = IntN(bits, 16), weight_of((6, 64), seed)
    block, limits = (1, 16), (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    scale, zero = oracle.choose_qparams_affine(
        weight,
        oracle.MappingType.SYMMETRIC_NO_CLIPPING_ERR,
        block,
        torch.int8,
        *limits,
        scale_dtype=torch.float16,
        zero_point_dtype=torch.int8,
    )
    codes = oracle.quantize_affine(weight, block, scale.float(), zero, torch.int8, *limits)
    back = oracle.dequantize_affine(codes, block, scale.float(), zero, torch.int8, *limits)
    assert torch.equal(form.scales(weight), scale.view(6, 4))
    assert torch.equal(form.rounded(weight, form.scales(weight)), back)


def test_an_int4_row_by_hand() -> None:
    form, weight = IntN(4), torch.tensor([[-8.0, 3.4, 3.6, 6.0], [7.0, -1.4, 0.2, 0.0]])
    scales = form.scales(weight)
    assert scales.tolist() == [[1.0], [1.0]]
    assert form.rounded(weight, scales).tolist() == [[-8.0, 3.0, 4.0, 6.0], [7.0, -1.0, 0.0, 0.0]]


def test_a_shrunk_scale_clips_and_the_clipped_are_counted() -> None:
    form, weight = IntN(4), torch.tensor([[7.0, -3.0, 3.5, 0.5]])
    scales = form.scales(weight, torch.tensor([[0.5]]))
    assert scales.tolist() == [[0.5]]
    assert form.rounded(weight, scales).tolist() == [[3.5, -3.0, 3.5, 0.5]]
    assert form.overflows(weight, scales) == 1


def test_a_tail_has_a_scale_of_its_own() -> None:
    form, weight = IntN(8, 4), torch.tensor([[127.0, 1.0, 1.0, 0.127, 0.001]])
    assert form.groups(weight) == 2
    assert form.rounded(weight, form.scales(weight))[0, 3:].tolist() == pytest.approx([0.127, 0.001], rel=1e-3)


def test_a_weight_below_the_smallest_float16_scale_is_not_lost_to_a_division_by_zero() -> None:
    form, weight = IntN(8), torch.tensor([[1e-9, -1e-9], [0.0, 0.0]])
    assert torch.equal(form.rounded(weight, form.scales(weight)), torch.zeros(2, 2))


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
def test_floats_by_hand(name: str, given: float, stored: float, overflows: int) -> None:
    form, weight = find(name), torch.tensor([[given]])
    assert form.rounded(weight, None).item() == stored
    assert form.overflows(weight, None) == overflows


@pytest.mark.parametrize(("bits", "size"), [(1, None), (9, None), (4, 0)])
def test_integers_that_do_not_exist_are_refused(bits: int, size: int | None) -> None:
    with pytest.raises(ValueError, match=r"2 to 8 bits|at least one"):
        IntN(bits, size)


def test_integers_need_scales() -> None:
    for use in (IntN(4).rounded, IntN(4).overflows):
        with pytest.raises(ValueError, match="scales"):
            use(torch.ones(1, 2), None)
