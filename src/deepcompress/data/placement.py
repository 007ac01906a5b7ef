"""Where stored images lie while batches are made of them, and how the images of a batch come together there.

Within the budget they lie on the device, all of them. Above it a thread gathers the next batches on the host,
from the file, while the device works on those before.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepcompress.data.ahead import ahead
from deepcompress.data.row_file import RowFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jaxtyping import Int, UInt8
    from torch import Tensor

    Images = UInt8[Tensor, "batch height width 3"]
    Rows = Int[Tensor, " batch"]

DEVICE_SHARE = 0.5  # of the free memory of a GPU that images may take
UPLOAD_BYTES = 2**26
DEPTH = 2  # batches that are gathered ahead
HELD = DEPTH + 2  # buffers they take in turn: two more for the batch at work and for the one before it


def place(images: np.ndarray | RowFile, device: torch.device) -> Tensor | np.ndarray | RowFile:
    """The images on the device if they fit, on a CPU an array; else as they are, to be gathered on the host."""
    if isinstance(images, RowFile) and not images.fits:
        return images
    if device.type == "cpu":
        return np.asarray(images)
    if device.type == "cuda" and images.nbytes > DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]:
        return images
    return upload(images, device)


def upload(images: np.ndarray | RowFile, device: torch.device) -> Tensor:
    """Copy piece by piece, so that images in a file are never all in the host's memory."""
    placed = torch.empty(images.shape, dtype=torch.uint8, device=device)
    step = max(1, UPLOAD_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(images), step):
        placed[start : start + step] = torch.tensor(images[start : start + step])
    return placed


def gathered(
    placed: Tensor | np.ndarray | RowFile, batches: Iterable[tuple[Rows, Rows]], device: torch.device
) -> Iterator[Images]:
    """The images of each batch on the device.

    Args:
        placed: As `place` gave them.
        batches: Their rows, on the host and on the device.
        device: Where the images are wanted.
    """
    if isinstance(placed, torch.Tensor):
        for _, rows in batches:
            yield placed.index_select(0, rows)
    elif device.type == "cpu" and isinstance(placed, np.ndarray):
        for rows, _ in batches:
            yield torch.from_numpy(placed.take(rows.numpy(), axis=0))
    else:
        # Pinned for CUDA: the copy from there runs beside the computation.
        pinned = device.type == "cuda"
        parts = _with_memory((rows for rows, _ in batches), placed.shape[1:], pinned=pinned)
        for host in ahead(lambda part: _filled(placed, *part), parts, DEPTH):
            yield host.to(device, non_blocking=pinned)


def _with_memory(batches: Iterable[Rows], shape: tuple[int, ...], *, pinned: bool) -> Iterator[tuple[Images, Rows]]:
    """Memory for the images of each batch, with its rows.

    A batch of HELD before has its memory again: were it made anew for each, what two threads allocate and free beside
    each other would leave gaps in the heap, as many as the data is large. Pinned memory is torch's pool's, which
    waits until it has been copied.
    """
    buffers: list[Images] = [torch.empty((0, *shape), dtype=torch.uint8)] * HELD
    for turn, rows in zip(cycle(range(HELD)), batches, strict=False):
        if pinned:
            yield torch.empty((len(rows), *shape), dtype=torch.uint8, pin_memory=True), rows
            continue
        if len(buffers[turn]) < len(rows):
            buffers[turn] = torch.empty((len(rows), *shape), dtype=torch.uint8)
        yield buffers[turn][: len(rows)], rows


def _filled(images: np.ndarray | RowFile, host: Images, rows: Rows) -> Images:
    if isinstance(images, RowFile):
        images.read(rows.numpy(), host.numpy())
    else:
        np.take(images, rows.numpy(), axis=0, out=host.numpy(), mode="clip")  # without the copy that "raise" makes
    return host
