"""How much of a model is quantized: shares of its weights and of its work, and bits per weight as stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.measure.macs import layer_macs
from deepcompress.models.vgg import prunable_layers
from deepcompress.quantization.pack import size_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deepcompress.models.checkpoint import Encoded
    from deepcompress.models.classifier import Classifier
    from deepcompress.quantization.format import Format

FLOAT_BITS = 32


def coverage(model: Classifier, formats: Mapping[str, Format], encodings: Mapping[str, Encoded]) -> dict[str, float]:
    """Columns of the table of a quantized model.

    Args:
        model: With rounded weights, on any device.
        formats: Of its layers.
        encodings: As they lie in the file.

    Returns:
        `weights_quantized_pct` and `macs_quantized_pct`: share, in convolutions and linear layers, of those
        below 32 bits [%]; `bits_per_weight`: stored bits of all weights, scales and masks included, over the
        number of weights.
    """
    work, layers = layer_macs(model), prunable_layers(model)
    weights = {name: layer.weight.numel() for name, layer in layers.items()}
    short = [name for name, form in formats.items() if form.bits < FLOAT_BITS]
    stored = {
        name: 8 * size_bytes(encodings[key]) if (key := f"{name}.weight") in encodings else FLOAT_BITS * count
        for name, count in weights.items()
    }
    return {
        "bits_per_weight": sum(stored.values()) / sum(weights.values()),
        "weights_quantized_pct": 100 * sum(weights[name] for name in short) / sum(weights.values()),
        "macs_quantized_pct": 100 * sum(work[name] for name in short) / sum(work.values()),
    }
