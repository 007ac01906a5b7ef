"""Which format each layer of a model gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from deepcompress import registry
from deepcompress.models.vgg import prunable_layers
from deepcompress.quantization.settings import FLOAT_BITS, FORMATS, INTEGER, require_format

if TYPE_CHECKING:
    from torch import nn

    from deepcompress.quantization.format import Format


def find(name: str, group_size: int | None = None) -> Format:
    """The format of a name; `int4` is `intn` with 4 bits, every other name is a file.

    Args:
        name: fp32, fp16, bf16, or int2 to int8.
        group_size: For integers: inputs that share a scale, at most; None: one scale per output channel.

    Raises:
        UserError: If there is no such format.
    """
    require_format(name)
    integer = INTEGER.fullmatch(name)
    if integer:
        return cast("Format", registry.find(FORMATS, "intn").make(int(integer[1]), group_size))
    return cast("Format", registry.find(FORMATS, name).make())


def assign(
    model: nn.Module,
    name: str,
    *,
    group_size: int | None = None,
    channel_bits: int = 8,
    first_bits: int | None = None,
    last_bits: int | None = None,
    float16: str = "fp16",
) -> dict[str, Format]:
    """A format for every convolution and linear layer, by name, in forward order.

    Args:
        model: Its biases and batch norms stay float32.
        name: Of the format for all layers but perhaps the first and the last.
        group_size: Inputs that share a scale, at most; None: one scale per output channel.
        channel_bits: Integers of so many bits or more have one scale per output channel all the same.
        first_bits: Own width of the first layer, 2 to 8 or 16.
        last_bits: Own width of the last layer.
        float16: What 16 bits mean there.

    Raises:
        UserError: If there is no such format.
    """
    names = dict.fromkeys(prunable_layers(model), name)
    if INTEGER.fullmatch(name):
        for layer, bits in ((next(iter(names)), first_bits), (next(reversed(names)), last_bits)):
            if bits is not None:
                names[layer] = float16 if bits == FLOAT_BITS else f"int{bits}"
    return {layer: find(own, group_size if _grouped(own, channel_bits) else None) for layer, own in names.items()}


def _grouped(name: str, channel_bits: int) -> bool:
    integer = INTEGER.fullmatch(name)
    return integer is not None and int(integer[1]) < channel_bits
