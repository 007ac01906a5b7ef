"""Name the classes of image files with an exported model: ONNX Runtime and Pillow; torch for .pte files alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from deepcompress.data import images
from deepcompress.deploy.classifier import BATCH, PROBABILITIES, OnnxClassifier
from deepcompress.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from deepcompress.deploy.classifier import Contract
    from deepcompress.deploy.executorch import PteClassifier

PTE = ".pte"
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jp2"}


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of one file with their probabilities (0 to 1), the likeliest first."""

    file: Path
    classes: tuple[tuple[str, float], ...]


def open_classifier(path: Path) -> OnnxClassifier | PteClassifier:
    """An exported file in the runtime of its suffix.

    Raises:
        UserError: If the file is missing or damaged, or its runtime is not installed.
    """
    if path.suffix != PTE:
        return OnnxClassifier(path)
    from deepcompress.deploy.executorch import PteClassifier

    return PteClassifier(path)


def predict(classifier: OnnxClassifier | PteClassifier, paths: Iterable[Path], top: int) -> Iterator[Prediction]:
    """Classify image files, a batch at a time, in the order given.

    Args:
        classifier: An exported model.
        paths: Image files, not folders; see `image_files`.
        top: Classes per image; all of them if there are fewer.

    Raises:
        UserError: If a file is missing or is no image that can be read.
    """
    listed, names = list(paths), classifier.contract.classes
    for start in range(0, len(listed), BATCH):
        part = listed[start : start + BATCH]
        pixels = np.stack([_pixels(path, classifier.contract) for path in part])
        for path, row in zip(part, classifier.run(pixels, PROBABILITIES), strict=True):
            order = np.argsort(-row, kind="stable")[:top]
            yield Prediction(path, tuple((names[i], float(row[i])) for i in order))


def image_files(paths: Iterable[Path]) -> list[Path]:
    """The files themselves, and of a folder every file below it with an image's suffix, in sorted order.

    Raises:
        UserError: If a path does not exist, or a folder holds no image.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not inside:
            raise UserError(f"{path}: no image below this folder (looked for {', '.join(sorted(SUFFIXES))})")
        files += inside
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise UserError(f"{missing[0]}: no such file")
    return files


def _pixels(path: Path, contract: Contract) -> UInt8[np.ndarray, "3 size size"]:
    """As the data stages store an image; then to the side that the network takes, where that is another."""
    pixels = images.decode(path.read_bytes(), contract.stored_size, name=str(path))
    if contract.image_size != contract.stored_size:
        pixels = images.square(Image.fromarray(pixels), contract.image_size)
    return pixels.transpose(2, 0, 1)
