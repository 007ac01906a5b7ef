"""How the rounded weights of a model lie in its file: per layer the way that takes the fewest bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.models.vgg import prunable_layers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from deepcompress.models.checkpoint import Encoded
    from deepcompress.quantization.format import Format, Scales


def encodings(model: nn.Module, formats: Mapping[str, Format], scales: Mapping[str, Scales]) -> dict[str, Encoded]:
    """Tensor name -> its parts, for `checkpoint.save`; a layer whose format stores nothing shorter is not named.

    Args:
        model: Its weights are rounded, as `ptq.round_` leaves them.
        formats: Of its layers.
        scales: That the weights are multiples of.
    """
    found = {}
    for name, layer in prunable_layers(model).items():
        ways = formats[name].encodings(layer.weight.detach().cpu(), scales[name])
        if ways:
            found[f"{name}.weight"] = min(ways, key=size_bytes)
    return found


def size_bytes(encoded: Encoded) -> int:
    """Bytes of an encoded tensor's parts."""
    return sum(part.numel() * part.element_size() for part in encoded.parts.values())
