"""Writing data folders: arrays streamed piece by piece, folders whole or not at all.

Arrays are written by plain sequential writes, not through a memory map: on a full disk a write raises an
error that can be reported, while a store into a mapped page kills the process.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from jaxtyping import UInt8

    from deepcompress.data.row_file import RowFile

STATISTICS_BYTES = 1 << 20  # of pixels that are counted at once; the counting takes eight times as much
ONE_GREY_LEVEL = 1 / 255


@contextmanager
def whole(*folders: Path) -> Iterator[tuple[Path, ...]]:
    """Temporary folders beside the given ones that take their places together, at success only.

    What a killed run left behind is removed by the next one, since the temporary names are always the same.
    """
    partial = tuple(folder.with_name(f".{folder.name}.partial") for folder in folders)
    try:
        for new in partial:
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
        yield partial
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        for new, folder in zip(partial, folders, strict=True):
            new.rename(folder)
    except OSError as error:
        for new, folder in zip(partial, folders, strict=True):
            if error.filename is None or str(error.filename).startswith(str(new)):
                error.filename = str(folder)
        raise
    finally:
        for new in partial:
            shutil.rmtree(new, ignore_errors=True)


def write_array(path: Path, rows: Iterable[np.ndarray], *, shape: tuple[int, ...], dtype: str) -> None:
    """Stream rows into a .npy file.

    Args:
        path: Is replaced.
        rows: Pieces of the array along its first axis, in order.
        shape: Of the whole array.
        dtype: As numpy spells it in the file, such as "|u1".

    Raises:
        ValueError: If the rows are not of that type or do not fill that shape.
    """
    bytes_left = int(np.prod(shape)) * np.dtype(dtype).itemsize
    header: dict[str, Any] = {"descr": dtype, "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for row in rows:
            if row.dtype != np.dtype(dtype) or row.shape[row.ndim - len(shape) + 1 :] != shape[1:]:
                raise ValueError(f"{path.name}: row of {row.dtype} {row.shape}, expected {dtype} {shape[1:]}")
            bytes_left -= file.write(np.ascontiguousarray(row).data)
        file.flush()
        os.fsync(file.fileno())
    if bytes_left:
        raise ValueError(f"{path.name}: {bytes_left} bytes are missing to {shape}")


def channel_statistics(
    images: UInt8[np.ndarray, "images height width 3"] | RowFile,
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and population standard deviation of each channel, of values scaled to 0..1, to 6 digits.

    Counted, not summed: how often each of the 256 values occurs is exact, whatever the order and the chunks.

    Returns:
        (mean, std) of R, G, B; std is at least one grey level, so that a constant channel can be normalised.
    """
    counts = np.zeros((3, 256), dtype=np.int64)
    step = max(1, STATISTICS_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(images), step):
        chunk = np.asarray(images[start : start + step])
        for channel in range(3):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    shares = counts / counts.sum(axis=1, keepdims=True)
    values = np.arange(256) / 255
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1))
    return _rounded(mean), _rounded(np.maximum(std, ONE_GREY_LEVEL))


def _rounded(values: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (round(float(value), 6) for value in values)
    return red, green, blue
