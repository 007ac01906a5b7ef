"""Sizes: bytes of the file on disk, and the source report's own accounting of zero and non-zero weights.

[torch-free at import]
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

BYTES_PER_MIB = 2**20


def size_bytes(path: str | Path) -> int:
    """Bytes of a file, as it is loaded back."""
    return Path(path).stat().st_size


def mib(size_bytes: int) -> float:
    """Bytes in MiB (2^20 bytes)."""
    return size_bytes / BYTES_PER_MIB


def weights_mib(model: nn.Module) -> dict[str, float]:
    """The report's storage table: MiB of the weights held dense, without biases and without batch norm.

    It calls the unit MB and counts 4 bytes for a zero as for any other weight, so `total_mib` does not fall
    with sparsity; `size_bytes` of a real file says what is saved.

    Returns:
        `nonzero_mib`, `zero_mib` and their sum `total_mib`, over all convolutions and linear layers.

    Source: the source report, figure 8.
    """
    from deepcompress.models.vgg import prunable_layers

    weights = [layer.weight for layer in prunable_layers(model).values()]
    total = sum(weight.numel() * weight.element_size() for weight in weights)
    nonzero = sum(int(weight.count_nonzero()) * weight.element_size() for weight in weights)
    return {"nonzero_mib": mib(nonzero), "zero_mib": mib(total - nonzero), "total_mib": mib(total)}
