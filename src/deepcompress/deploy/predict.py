"""Name the classes of image files with an exported model: ONNX Runtime and Pillow; torch for .pte files alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from deepcompress.data import images
from deepcompress.data.archives import HEAD_BYTES, counts, is_litter, open_tree
from deepcompress.deploy.classifier import BATCH, PROBABILITIES, OnnxClassifier
from deepcompress.errors import UserError, named

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from deepcompress.deploy.classifier import Contract
    from deepcompress.deploy.executorch import PteClassifier

PTE, PACKED = ".pte", ".dc"


@dataclass(frozen=True)
class Prediction:
    """The answer for one file.

    Attributes:
        file: As it was asked for.
        classes: The likeliest with their probabilities (0 to 1), the likeliest first; none where there is an error.
        error: Why the file cannot be read; None: it was read.
    """

    file: Path
    classes: tuple[tuple[str, float], ...] = ()
    error: str | None = None

    def row(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        if self.error is not None:
            return {"file": str(self.file), "error": self.error}
        return {"file": str(self.file), "classes": [{"class": name, "probability": p} for name, p in self.classes]}

    def line(self) -> str:
        """The classes in words."""
        return f"{self.file}: " + ", ".join(f"{name} {100 * p:.1f} %" for name, p in self.classes)


def open_classifier(path: Path) -> OnnxClassifier | PteClassifier:
    """An exported file in the runtime of its suffix.

    Raises:
        UserError: If the file is missing or damaged, or its runtime is not installed.
    """
    if path.suffix == PACKED:
        from deepcompress.deploy import handover

        return OnnxClassifier(path, content=handover.unpack(path))
    if path.suffix != PTE:
        return OnnxClassifier(path)
    from deepcompress.deploy.executorch import PteClassifier

    return PteClassifier(path)


def predict(classifier: OnnxClassifier | PteClassifier, paths: Iterable[Path], top: int) -> Iterator[Prediction]:
    """Classify image files, a batch at a time, in the order given; a file that cannot be read has its error instead.

    Args:
        classifier: An exported model.
        paths: Image files, not folders; see `image_files`.
        top: Classes per image; all of them if there are fewer.

    Raises:
        UserError: If the model cannot be run.
    """
    listed, names = list(paths), classifier.contract.classes
    for start in range(0, len(listed), BATCH):
        part = listed[start : start + BATCH]
        pixels = [_pixels(path, classifier.contract) for path in part]
        read = [entry for entry in pixels if not isinstance(entry, str)]
        rows = iter(classifier.run(np.stack(read), PROBABILITIES) if read else ())
        for path, entry in zip(part, pixels, strict=True):
            if isinstance(entry, str):
                yield Prediction(path, error=entry)
                continue
            row = next(rows)
            order = np.argsort(-row, kind="stable")[:top]
            yield Prediction(path, tuple((names[i], float(row[i])) for i in order))


def image_files(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """The files themselves, and of a folder every image below it, in sorted order; and what of it is no image.

    What counts as an image is what the data sources take for one (data/archives.py); litter is left out of both.

    Raises:
        UserError: If a folder holds no image.
    """
    files: list[Path] = []
    others: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        below = [path / name for name in open_tree(path, path).files if not is_litter(name)]
        pipes = {file for file in below if file.exists() and not file.is_file()}  # would keep us waiting
        inside = [file for file in below if file not in pipes and counts(file.name, _head(file))]
        if not inside:
            raise UserError(f"{path}: no image below this folder, found {named(map(str, below)) or 'no files'}")
        files += inside
        others += sorted({*below} - {*inside})
    return files, others


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as content:
            return content.read(HEAD_BYTES)
    except OSError:  # the name decides
        return b""


def _pixels(path: Path, contract: Contract) -> UInt8[np.ndarray, "3 size size"] | str:
    """As the data stages store an image; then to the side that the network takes. Or why it cannot be read."""
    try:
        content = path.read_bytes()
        pixels = images.decode(content, contract.stored_size, name=str(path), white=contract.white)
    except OSError as error:
        return f"{path}: {'no such file' if isinstance(error, FileNotFoundError) else error.strerror}"
    except UserError as error:
        return str(error)
    if contract.image_size != contract.stored_size:
        pixels = images.square(Image.fromarray(pixels), contract.image_size)
    return pixels.transpose(2, 0, 1)
