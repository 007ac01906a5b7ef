"""What an exported file says of itself, running it with ONNX Runtime on the CPU, and the classes of image files.

Free of torch and of onnx, so that a program that only predicts loads neither of them; but .pte files need torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from deepcompress import files
from deepcompress.data import images as image_data
from deepcompress.data.archives import HEAD_BYTES, counts, is_litter, open_tree
from deepcompress.data.images import WHITE
from deepcompress.errors import UserError, named

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from deepcompress.deploy.engines.executorch import PteClassifier

FORMAT = "deepcompress-classifier-1"
INPUT, LOGITS, PROBABILITIES = "images", "logits", "probabilities"
OUTPUTS = (LOGITS, PROBABILITIES)
MAX_SIZE = 2**14  # px
BATCH = 32  # images
ERRORS_ONLY = 3  # a level of ONNX Runtime's log
LONGEST_REASON = 500  # characters of what ONNX Runtime says, which may quote a damaged file
PTE, PACKED = ".pte", ".dc"


@dataclass(frozen=True)
class Contract:
    """How a program must call an exported file, and what its outputs mean; kept as text in the file's metadata."""

    classes: tuple[str, ...]  # names, in the order of the logits
    image_size: int  # side of the square input [px]
    stored_size: int  # side of the squares that images were cut to in training, before they took `image_size` [px]
    white: int = WHITE  # the value of 16-bit grey images that became 255

    @property
    def sentences(self) -> dict[str, str]:
        """What goes in and what comes out, in words."""
        side, classes = self.image_size, len(self.classes)
        return {
            INPUT: f"uint8 (n, 3, {side}, {side}): RGB pixels 0..255, channels first; normalisation is in the graph",
            LOGITS: f"float32 (n, {classes}): one per class, before softmax",
            PROBABILITIES: f"float32 (n, {classes}): softmax of the logits",
        }

    def to_metadata(self) -> dict[str, str]:
        """Text values under keys in alphabetical order."""
        words = {f"contract.{name}": sentence for name, sentence in self.sentences.items()}
        values = {
            "format": FORMAT,
            "classes": json.dumps(self.classes, ensure_ascii=False),
            "image_size": str(self.image_size),
            "stored_size": str(self.stored_size),
        }
        if self.white != WHITE:
            values["white"] = str(self.white)
        return dict(sorted((words | values).items()))

    @classmethod
    def from_metadata(cls, path: str | Path, metadata: Mapping[str, str]) -> Contract:
        """The inverse of `to_metadata`; a UserError if the file at `path` is no export of ours, or damaged."""
        if metadata.get("format") != FORMAT:
            raise UserError(f"{path}: not a deepcompress export (its metadata has no format {FORMAT})")
        try:
            classes = json.loads(metadata["classes"])
            image_size, stored_size = (int(metadata[key]) for key in ("image_size", "stored_size"))
            white = int(metadata.get("white", WHITE))
            possible = all(0 < size <= MAX_SIZE for size in (image_size, stored_size)) and 0 < white <= WHITE
            if not isinstance(classes, list) or not classes or not possible:
                raise ValueError("no classes, or no sizes of images")
            return cls(tuple(map(str, classes)), image_size, stored_size, white)
        except (KeyError, ValueError, TypeError, RecursionError):
            raise UserError(f"{path}: damaged metadata; run the export stage again") from None


class OnnxClassifier:
    """An ONNX file in ONNX Runtime.

    A UserError if it is missing, damaged, or was not written by the export stage; damage in the middle of a graph may
    show only in `run`.

    Args:
        path: A file that the export stage wrote.
        threads: Of one operation; 0: as many as ONNX Runtime sees fit.
        content: What was unpacked from `path`; None: the file is ONNX itself.
    """

    def __init__(self, path: str | Path, threads: int = 0, content: bytes | None = None) -> None:
        import onnxruntime

        files.require_file(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, ERRORS_ONLY
        options.use_deterministic_compute = True
        try:
            self._session = onnxruntime.InferenceSession(
                content or str(path), options, providers=["CPUExecutionProvider"]
            )
            metadata = self._session.get_modelmeta().custom_metadata_map
            inputs = {value.name: (value.type, *value.shape[1:]) for value in self._session.get_inputs()}
            outputs = {value.name: (value.type, *value.shape[1:]) for value in self._session.get_outputs()}
        except Exception as error:  # a class of its own for each reason, none of them public
            raise UserError(f"{path}: no ONNX file that can be run ({str(error)[:LONGEST_REASON]})") from None
        self._path, self.contract = path, Contract.from_metadata(path, metadata)
        size, classes = self.contract.image_size, len(self.contract.classes)
        expected = dict.fromkeys(OUTPUTS, ("tensor(float)", classes))
        if inputs != {INPUT: ("tensor(uint8)", 3, size, size)} or not expected.items() <= outputs.items():
            raise UserError(f"{path}: its input and outputs are not those that its metadata tell of")

    def run(
        self, images: UInt8[np.ndarray, "images 3 size size"], output: str = LOGITS
    ) -> Float[np.ndarray, "images classes"]:
        """Logits, or what else `output` names, of at least one image; BATCH images at a time."""
        starts = range(0, len(images), BATCH)
        try:
            parts = [self._session.run([output], {INPUT: images[start : start + BATCH]})[0] for start in starts]
        except Exception as error:  # as above: damaged weights or operators may show only here
            raise UserError(f"{self._path}: cannot be run ({str(error)[:LONGEST_REASON]})") from None
        values = np.concatenate(parts)
        if values.shape != (len(images), len(self.contract.classes)):
            raise UserError(f"{self._path}: gave {values.shape} for {len(images)} images; it is damaged")
        return values


# Image files, by an exported model.


def open_classifier(path: Path) -> OnnxClassifier | PteClassifier:
    """An exported file in the runtime of its suffix; UserError if it is missing or damaged, or the runtime is."""
    if path.suffix == PACKED:
        from deepcompress.deploy import handover

        return OnnxClassifier(path, content=handover.unpack(path))
    if path.suffix != PTE:
        return OnnxClassifier(path)
    from deepcompress.deploy.engines.executorch import PteClassifier

    return PteClassifier(path)


def predict(classifier: OnnxClassifier | PteClassifier, paths: Iterable[Path], top: int) -> Iterator[dict[str, Any]]:
    """Classify image files, a batch at a time, in the order given; a UserError if the model cannot be run.

    Args:
        classifier: An exported model.
        paths: Image files, not folders; see `image_files`.
        top: Classes per image; all of them if there are fewer.

    Returns:
        Of each file, as JSON values: `file`; `classes`, each with `class` and `probability` (0 to 1), the likeliest
        first; `error` in their place where it cannot be read.
    """
    listed, names = list(paths), classifier.contract.classes
    for start in range(0, len(listed), BATCH):
        part = listed[start : start + BATCH]
        pixels = [_pixels(path, classifier.contract) for path in part]
        read = [entry for entry in pixels if not isinstance(entry, str)]
        rows = iter(classifier.run(np.stack(read), PROBABILITIES) if read else ())
        for path, entry in zip(part, pixels, strict=True):
            if isinstance(entry, str):
                yield {"file": str(path), "error": entry}
                continue
            row = next(rows)
            order = np.argsort(-row, kind="stable")[:top]
            yield {"file": str(path), "classes": [{"class": names[i], "probability": float(row[i])} for i in order]}


def image_files(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """The files themselves, and of a folder every image below it, in sorted order; and what of it is no image.

    What counts as an image is what the data sources take for one (data/archives.py); litter is left out of both. A
    UserError if a folder holds no image.
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
        pixels = image_data.decode(content, contract.stored_size, name=str(path), white=contract.white)
    except OSError as error:
        return f"{path}: {'no such file' if isinstance(error, FileNotFoundError) else error.strerror}"
    except UserError as error:
        return str(error)
    if contract.image_size != contract.stored_size:
        pixels = image_data.square(Image.fromarray(pixels), contract.image_size)
    return pixels.transpose(2, 0, 1)
