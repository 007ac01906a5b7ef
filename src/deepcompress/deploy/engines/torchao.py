"""PyTorch with the model's own integers as tensors of torchao: the way to its kernels on GPUs and phones.

The integers and scales of the checkpoint become torchao's, without rounding anew, so that dequantized weights are
equal to the last bit. On CPUs torchao dequantizes in every call: slower than float, and timed for that reason only.
torchao describes groups as boxes of a weight's dimensions. A group of our rows that is no such box, such as 32
neighbours of a 3 x 3 convolution, stays float; one scale per output is always a box.

Source: https://docs.pytorch.org/ao/stable/api_ref_quantization.html, `IntxUnpackedToInt8Tensor`.
"""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from deepcompress import files
from deepcompress.deploy.benchmark import not_installed
from deepcompress.deploy.engines.pytorch import caller
from deepcompress.deploy.onnx import FromPixels
from deepcompress.errors import UserError
from deepcompress.models import checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from deepcompress.deploy.benchmark import Call, Deployable
    from deepcompress.models.quantized_weight import QuantizedWeight

FLOAT_FORM = "pytorch"


def missing() -> str | None:
    """torchao is in the group of developers."""
    return not_installed("torchao", "dev")


def load(model: Deployable) -> Call | None:
    """The network with torchao's tensors, if any of its weights can be one."""
    network, _ = with_tensors(model.loaded.model, model.loaded.integers)
    return caller(FromPixels(network, model.loaded.view)) if network is not None else None


def with_tensors(model: nn.Module, weights: Mapping[str, QuantizedWeight]) -> tuple[nn.Module | None, list[str]]:
    """A copy of a network whose quantized weights are torchao's tensors.

    Args:
        model: Holds the same weights, dequantized.
        weights: Integers and scales by tensor name, such as `features.0.weight`.

    Returns:
        The copy, None if no weight can be a tensor of torchao; and the names of those that stayed float.
    """
    from torchao.quantization import IntxUnpackedToInt8Tensor

    converted, floats = copy.deepcopy(model), []
    for name, weight in weights.items():
        if (box := block_size(weight)) is None:
            floats.append(name)
            continue
        blocks = [side // size for side, size in zip(weight.codes.shape, box, strict=True)]
        scale = weight.scales.float().reshape(blocks)
        tensor = IntxUnpackedToInt8Tensor(
            qdata=weight.codes.contiguous(),
            scale=scale,
            zero_point=torch.zeros_like(scale, dtype=torch.int8),
            target_dtype=getattr(torch, f"int{weight.bits}"),
            block_size=box,
            dtype=torch.float32,
            activation_quantization=None,
        )
        layer, _, parameter = name.rpartition(".")
        setattr(converted.get_submodule(layer), parameter, nn.Parameter(tensor, requires_grad=False))
    return (converted if len(floats) < len(weights) else None), floats


def write(source: Path, out: Path) -> list[str]:
    """Write the state dict of a checkpoint with torchao's tensors, for `torch.load` (with torchao imported) and
    `load_state_dict(..., assign=True)` of the network that `checkpoint.load(source).model` is.

    A UserError if torchao is missing, the file is damaged, or none of its weights can be a tensor of torchao.

    Returns:
        Names of the quantized weights that stayed float32, dequantized.
    """
    if (why := missing()) is not None:
        raise UserError(why)
    loaded = checkpoint.load(source)
    if not loaded.integers:
        raise UserError(f"{source}: is not quantized to integers; name a model that is, such as in models/quantized")
    network, floats = with_tensors(loaded.model, loaded.integers)
    if network is None:
        raise UserError(
            f"{source}: has no integers whose groups torchao can describe; quant.group_size: null gives some"
        )
    content = io.BytesIO()  # torch.save to a file tells of a full disk by a RuntimeError
    torch.save(network.state_dict(), content)
    files.write_bytes(out, content.getvalue())
    return floats


def block_size(weight: QuantizedWeight) -> tuple[int, ...] | None:
    """Sides of the box that each group of a weight is, the first of one output; None if groups are no boxes."""
    inputs = weight.codes.shape[1:]
    groups, length = weight.scales.shape[1], weight.group_size
    if groups == 1:
        return (1, *inputs)
    channels, kernel = inputs[0], math.prod(inputs[1:])
    if length % kernel or channels % (length // kernel):
        return None
    return (1, length // kernel, *inputs[1:])
