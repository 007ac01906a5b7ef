"""The only module that knows torchao, whose interface moves: scales of a symmetric grid, and rounding to it.

Its own tensor types are not used: they hold a byte per weight whatever the bits, and files of theirs do not
outlive a release. torchao is loaded at the first call, since that costs seconds.
Source: https://github.com/pytorch/ao, version 0.18, quantization/quant_primitives.py.
"""

from __future__ import annotations

import functools
import importlib
import logging
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

SMALLEST_SCALE = 2.0**-24  # the smallest positive float16
WEIGHTS_AT_ONCE = 2**17


def scales(grouped: Float[Tensor, "outputs groups size"], bits: int) -> Float[Tensor, "outputs groups"]:
    """The finest scale per group that clips nothing: max(-smallest / 2**(bits-1), largest / (2**(bits-1) - 1)).

    torchao's default mapping (`SYMMETRIC`) divides by 2**(bits-1) - 1/2 and so clips the largest positive
    weight: a bias that adds up behind ReLU and grows as groups shrink.

    Returns:
        Float32, positive also where all weights are zero.
    """
    quantizer = _primitives()
    # One weight alone is no block to torchao, which would then take all of them for one.
    flat = F.pad(grouped.reshape(-1, grouped.shape[2]), (0, 1 if grouped.shape[2] == 1 else 0))
    found, _ = quantizer.choose_qparams_affine(
        flat,
        quantizer.MappingType.SYMMETRIC_NO_CLIPPING_ERR,
        (1, flat.shape[1]),
        torch.int8,
        *_limits(bits),
        eps=SMALLEST_SCALE,
        zero_point_dtype=torch.int8,
    )
    return found.view(grouped.shape[:2])


def rounded(
    grouped: Float[Tensor, "outputs groups size"], scales: Float[Tensor, "outputs groups"], bits: int
) -> Float[Tensor, "outputs groups size"]:
    """Each weight's nearest multiple of its scale, of those that `bits` can say; ties go to even multiples.

    Bit for bit what torchao's fake quantization gives, which copies what it rounds six times; here a few rows at a
    time are rounded in place and stay in the processor's cache.
    """
    lowest, highest = _limits(bits)
    made = torch.empty_like(grouped, memory_format=torch.contiguous_format)
    at_once = max(1, WEIGHTS_AT_ONCE // grouped[0].numel())
    for part, scale, out in zip(*(whole.split(at_once) for whole in (grouped, scales.float(), made)), strict=True):
        steps = scale[..., None]
        torch.mul(part, 1.0 / steps, out=out).round_().clamp_(lowest, highest).mul_(steps)
    return made


def _limits(bits: int) -> tuple[int, int]:
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


@functools.cache
def _primitives() -> Any:
    # At import torchao 0.18 logs, at warning level, that torch will change how its enums are registered.
    logger = logging.getLogger("torch.utils._pytree")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return importlib.import_module("torchao.quantization.quant_primitives")
    finally:
        logger.setLevel(level)
