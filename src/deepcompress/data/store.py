"""Image data on disk: what a source hands over, and the uint8 arrays that stages read.

A source gives one image at a time and the arrays are streamed to disk, so no data set has to fit into memory;
nor does it later: images come as a RowFile, which loads them whole only within `data.device_budget_mib`.
Test images are opened by data/heldout.py.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from tqdm import tqdm

from deepcompress.data.budget import device_budget_bytes
from deepcompress.data.row_file import DAMAGED, RowFile
from deepcompress.data.split import require_images, stratified
from deepcompress.data.writing import channel_statistics, whole, write_array
from deepcompress.errors import UserError
from deepcompress.files import read_json, write_json
from deepcompress.runtime import derived_seed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    A = TypeVar("A")


@dataclass(frozen=True)
class Part:
    """Some labelled images of a source, read one by one.

    Attributes:
        labels: Class indices, int64 (n,).
        read: Gives image i as uint8 (stored_size, stored_size, 3), RGB; the same pixels at every call.
    """

    labels: np.ndarray
    read: Callable[[int], np.ndarray]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Source:
    """A data set as a source hands it over.

    Attributes:
        classes: Class names; labels index them.
        train: Images to learn from; validation images are taken from here.
        test: Held-out images, or None where the source has none.
        origin: "source" (its name) and "checksum" (such as "sha256:<hex>"), and more where it helps.
    """

    classes: tuple[str, ...]
    train: Part
    test: Part | None
    origin: dict[str, str]


@dataclass(frozen=True)
class Meta:
    """What meta.json says of the data; the same in data/fit and data/heldout.

    Attributes:
        classes: Class names; labels index them.
        image_size: Side of the stored square images, pixels.
        mean: Per channel (R, G, B), of the training images scaled to 0..1.
        std: As mean; at least one grey level (1/255), so that a constant channel can be normalised.
        counts: Images in "train", "validation" and "heldout".
        source: Name of the source.
        checksum: Of what the source read.
    """

    classes: tuple[str, ...]
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    counts: dict[str, int]
    source: str
    checksum: str


@dataclass(frozen=True)
class Arrays:
    """Images uint8 (n, height, width, 3) and their labels int64 (n,)."""

    images: np.ndarray | RowFile
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Fit:
    """Everything that training and choosing may see."""

    train: Arrays
    validation: Arrays
    meta: Meta


def write_fit(folder: Path, source: Source, *, validation_fraction: float, seed: int) -> Meta:
    """Write training and validation images, whole or not at all.

    Args:
        folder: Is replaced.
        source: Its train part is split, stratified by class.
        validation_fraction: Share of the training images that becomes validation, 0..1.
        seed: Decides which images become validation.

    Raises:
        UserError: If a class has too few images to be split.
    """
    labels = source.train.labels
    where = source.origin.get("address", source.origin["source"])
    require_images(labels, source.classes, least=2, reason="training needs one and validation one", where=where)
    kept, split = stratified(labels, validation_fraction, derived_seed(seed, "validation"))
    with whole(folder) as (new,):
        _write_part(new, "train_", source.train, kept)
        _write_part(new, "validation_", source.train, split)
        images = RowFile.open(new / "train_images.npy", budget_bytes=0)
        mean, std = channel_statistics(images)
        heldout = 0 if source.test is None else len(source.test)
        meta = Meta(
            classes=source.classes,
            image_size=int(images.shape[1]),
            mean=mean,
            std=std,
            counts={"train": len(kept), "validation": len(split), "heldout": heldout},
            source=source.origin["source"],
            checksum=source.origin["checksum"],
        )
        write_json(new / "meta.json", asdict(meta))
    return meta


def write_heldout(folder: Path, source: Source, *, meta: Meta) -> None:
    """Write the test images and the meta.json that write_fit returned, whole or not at all.

    Raises:
        UserError: If the source has no test images.
    """
    if source.test is None or len(source.test) == 0:
        raise UserError(f"data.source: {meta.source} has no test images, but at least one is needed")
    with whole(folder) as (new,):
        _write_part(new, "", source.test, np.arange(len(source.test)))
        write_json(new / "meta.json", asdict(meta))


def open_fit(folder: Path) -> Fit:
    """Training and validation images, read as they are needed.

    Raises:
        UserError: If a file is missing or damaged, naming it.
    """
    meta = read_meta(folder)
    return Fit(
        train=open_arrays(folder, meta, prefix="train_"),
        validation=open_arrays(folder, meta, prefix="validation_"),
        meta=meta,
    )


def read_meta(folder: Path) -> Meta:
    """meta.json of a data folder; a UserError names it where it is missing or damaged."""
    path = folder / "meta.json"
    found: Any = read_json(path)
    names = [field.name for field in fields(Meta)]
    if not isinstance(found, dict) or sorted(found) != sorted(names):
        raise UserError(f"{path}: must hold {', '.join(names)}; run the download stage again")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}
    return Meta(**values)


def open_arrays(folder: Path, meta: Meta, *, prefix: str) -> Arrays:
    """The images (in their file) and labels named with this prefix; a UserError names a damaged file."""
    budget = device_budget_bytes()
    images = _open(folder / f"{prefix}images.npy", lambda path: RowFile.open(path, budget_bytes=budget))
    labels = _open(folder / f"{prefix}labels.npy", lambda path: np.load(path, allow_pickle=False))
    expected = (len(labels), meta.image_size, meta.image_size, 3)
    if images.dtype != np.uint8 or images.shape != expected:
        raise UserError(
            f"{folder / f'{prefix}images.npy'}: must be uint8 {expected}, got {images.dtype} {images.shape}"
        )
    return Arrays(images=images, labels=labels)


def _open(path: Path, read: Callable[[Path], A]) -> A:
    try:
        return read(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the download stage first") from None
    except DAMAGED as error:
        raise UserError(f"{path}: damaged ({error}); run the download stage again") from error


def _write_part(folder: Path, prefix: str, part: Part, indices: np.ndarray) -> None:
    labels = part.labels[indices].astype("<i8")
    size = part.read(int(indices[0])).shape[0]
    images = (part.read(int(i))[None] for i in tqdm(indices, desc=f"{prefix}images", disable=None))
    write_array(folder / f"{prefix}labels.npy", [labels], shape=labels.shape, dtype="<i8")
    write_array(folder / f"{prefix}images.npy", images, shape=(len(indices), size, size, 3), dtype="|u1")
