"""Sizes: bytes of the file on disk, of other ways to store the same tensors, and the source report's own accounting."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

BYTES_PER_MIB = 2**20
INDEX_BYTES = 4  # of one column number or row pointer
ZSTD_LEVEL = 3


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


def payload_bytes(model: nn.Module) -> dict[str, int]:
    """Bytes of the model's tensors as five formats would store them, headers apart.

    Only weights of convolutions and linear layers have more than one form; biases and batch norms are dense in
    each.

    Returns:
        `dense_bytes`; `bitmask_bytes`: a bit per weight and the non-zero values; `csr_bytes`: per non-zero
        value also its column, per row a pointer, 4 bytes each (a convolution is a row per filter);
        `zstd_bytes` and `bitmask_zstd_bytes`: the first two compressed by zstd, losslessly.

    Source: zstd: RFC 8878; the others are counted, and the bitmask's figure is what models/encodings stores.
    """
    import zstandard

    from deepcompress.models.encodings import bitmask
    from deepcompress.models.vgg import prunable_layers

    weights = {f"{name}.weight" for name in prunable_layers(model)}
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
    total = dict.fromkeys(("dense", "bitmask", "csr", "zstd", "bitmask_zstd"), 0)
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        parts = bitmask.encode(tensor) if name in weights else {"values": tensor}
        coded = b"".join(part.numpy().tobytes() for part in parts.values())
        nonzero, rows = parts["values"].numel(), tensor.shape[0] if tensor.dim() else 1
        sparse = nonzero * (tensor.element_size() + INDEX_BYTES) + (rows + 1) * INDEX_BYTES
        total["dense"] += tensor.nbytes
        total["bitmask"] += len(coded)
        total["csr"] += sparse if name in weights else tensor.nbytes
        total["zstd"] += len(compressor.compress(tensor.numpy().tobytes()))
        total["bitmask_zstd"] += len(compressor.compress(coded))
    return {f"{form}_bytes": count for form, count in total.items()}
