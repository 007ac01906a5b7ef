"""A tensor in a file that stands in for one in memory where only rows of it are wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deepcompress.data.spill import spill

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from jaxtyping import Int
    from torch import Tensor

    from deepcompress.data.row_file import RowFile

BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by size in bytes: numpy has no bfloat16


class FileTensor:
    """What a table of features needs to be of a tensor: `shape`, `nbytes`, `device` and `index_select` of rows.

    Args:
        rows: The elements, or integers of their size with the same bits.
        dtype: Of the tensor.
        device: Where rows come to.
    """

    def __init__(self, rows: RowFile, dtype: torch.dtype, device: torch.device | str = "cpu") -> None:
        self._rows, self.dtype, self.device = rows, dtype, torch.device(device)
        self.shape, self.nbytes = torch.Size(rows.shape), rows.nbytes

    def index_select(self, dim: int, rows: Int[Tensor, " rows"]) -> Tensor:
        """Rows in the order given, on the device."""
        if dim != 0:
            raise ValueError(f"only rows can be selected, got dimension {dim}")
        found = torch.from_numpy(self._rows.read(rows.cpu().numpy()))
        return found.view(self.dtype).to(self.device)


def spill_tensor(pieces: Iterable[Tensor], shape: tuple[int, ...], dtype: torch.dtype, path: Path) -> FileTensor:
    """Put a tensor that no memory shall hold into a nameless file, see `spill`.

    Args:
        pieces: Of the tensor along its first axis, in order.
        shape: Of the whole tensor.
        dtype: Of all pieces.
        path: What messages call the file, and where its disk is.
    """
    bits = (piece.detach().cpu().contiguous().view(BITS[dtype.itemsize]).numpy() for piece in pieces)
    return FileTensor(spill(bits, shape, name=path, folder=path.parent), dtype)
