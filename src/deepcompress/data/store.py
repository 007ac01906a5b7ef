"""Image data on disk: what a source gives, the uint8 arrays that stages read, and the `data` section that shapes them.

A source gives one image at a time and the arrays are streamed to disk, so no data set has to fit into memory. Nor
does it later: arrays are memory-mapped, so that the system reads the rows that are touched and takes their pages back
when it needs them. Test images are opened by data/heldout.py.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import tokenize
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator, Field
from tqdm import tqdm

from deepcompress import params, runtime
from deepcompress.data.images import WHITE
from deepcompress.errors import UserError, require_array
from deepcompress.files import read_json, write_json
from deepcompress.params import DEVICE_BUDGET_MIB

if TYPE_CHECKING:
    from jaxtyping import UInt8

PLUGINS = "data.sources"
BYTES_PER_MIB = 2**20
MOST_LISTED = 100  # names of files that were left out, in meta.json
SAMPLED_AT_ONCE = 64  # images
MIXED = 0.75  # of the changes of class from one image to the next that chance makes; with fewer, images are sorted
STATISTICS_BYTES = 1 << 20  # of pixels that are counted at once; the counting takes eight times as much
ONE_GREY_LEVEL = 1 / 255
# What numpy raises for a damaged file: it reads a header as Python's literals.
DAMAGED = (ValueError, EOFError, SyntaxError, TypeError, OverflowError, MemoryError, tokenize.TokenError)

Triple = tuple[float, float, float]


def _known(source: str) -> str:
    names = params.plugins(PLUGINS)
    if source not in names:
        raise ValueError(f"must be one of {', '.join(names)}; got {source!r}")
    return source


class DataConfig(params.PluginSection):
    """The `data` section, with one block per source."""

    plugins: ClassVar[str] = PLUGINS
    key: ClassVar[str] = "data"
    source: Annotated[str, AfterValidator(_known)]  # a file in data/sources
    # Of the images that are drawn and of the splits; apart from the pipeline's, so that further trainings are measured
    # on the same images.
    seed: int = Field(default=0, ge=0, le=params.HIGHEST_SEED)
    stored_size: int = Field(ge=8, le=1024)  # images are stored as squares of this side, pixels
    validation_fraction: float = Field(gt=0, lt=1)  # fraction of each class's training images that choices are made on
    # What the images of one part (training, validation, held-out) may take in the memory of a GPU [MiB]; above it each
    # batch is copied there from the mapped file. No result depends on it.
    device_budget_mib: int = Field(default=DEVICE_BUDGET_MIB, ge=0)


@dataclass(frozen=True)
class Part:
    """Some labelled images of a source, read one by one."""

    labels: np.ndarray  # class indices, int64 (n,)
    # Gives image i as uint8 (stored_size, stored_size, 3), RGB; the same pixels at every call.
    read: Callable[[int], np.ndarray]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Source:
    """A data set as a source gives it."""

    classes: tuple[str, ...]  # class names; labels index them
    train: Part  # images to learn from; validation images are taken from here
    test: Part | None  # held-out images, or None where the source has none
    origin: dict[str, str]  # "source" (its name) and "checksum" (such as "sha256:<hex>"), and more where it helps
    validation: Part | None = None  # images to choose on; None: a fraction of the training images
    white: int = WHITE  # the value of 16-bit grey that became 255
    skipped: dict[str, tuple[str, ...]] = field(default_factory=dict)  # why -> the files that were left out for it


@dataclass(frozen=True)
class Meta:
    """What meta.json tells of the data; the same in data/fit and data/heldout."""

    classes: tuple[str, ...]  # class names; labels index them
    image_size: int  # side of the stored square images, pixels
    mean: Triple  # per channel (R, G, B), of the training images scaled to 0..1
    std: Triple  # as mean; at least one grey level (1/255), so that a constant channel can be normalised
    counts: dict[str, int]  # images in "train", "validation" and "heldout"
    source: str  # name of the source
    checksum: str  # of what the source read
    white: int = WHITE  # the value of 16-bit grey that became 255
    # Why -> how many files were left out for it, and the first of their names.
    skipped: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Without what is as it is for most: so the bytes of a data folder, and all that is made of it, stay."""
        optional = {entry.name for entry in fields(self)[-2:]}
        return {key: value for key, value in asdict(self).items() if key not in optional or value not in (WHITE, {})}


@dataclass(frozen=True)
class Arrays:
    """Labelled images."""

    images: np.ndarray  # uint8 (n, height, width, 3), in memory or mapped from a file
    labels: np.ndarray  # class indices, int64 (n,)
    # What the images may take in a GPU's memory, and what copies of them may take in the host's [MiB].
    budget_mib: int = DEVICE_BUDGET_MIB

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Fit:
    """Everything that training and choosing may see."""

    train: Arrays
    validation: Arrays
    meta: Meta


def load_source(data: DataConfig, workspace: Path) -> Source:
    """What the source of the `data` section gives; its images are looked at as they are read.

    A UserError if it gives no `Source`, or a label or an image that is none of this section.
    """
    plugin, options = params.plugin(data.plugins, data.source, "data.source"), data.options(data.source)
    source = plugin.load(options, stored_size=data.stored_size, seed=data.seed, workspace=workspace)
    if not isinstance(source, Source) or not {"source", "checksum"} <= {*source.origin}:
        raise UserError(f"data source {data.source} must give a Source whose origin names source and checksum")
    if len({name for name in source.classes if isinstance(name, str)}) < len(source.classes):
        raise UserError(f"data source {data.source}: classes must be different names, got {source.classes}")
    return replace(
        source,
        train=_checked(source.train, "train", source, data),
        test=source.test and _checked(source.test, "test", source, data),
        validation=source.validation and _checked(source.validation, "validation", source, data),
    )


def _checked(part: Part, name: str, source: Source, data: DataConfig) -> Part:
    where, most = f"data source {data.source}: {name}", len(source.classes) - 1
    require_array(f"{where}: the labels", part.labels, (len(part),), "int")
    for outside in part.labels[(part.labels < 0) | (part.labels > most)]:
        raise UserError(f"{where}: the labels must be from 0 to {most}, got {outside}")

    def read(index: int) -> np.ndarray:
        image = part.read(index)
        require_array(f"{where}: image {index}", image, (data.stored_size, data.stored_size, 3), "uint8")
        return image

    return Part(part.labels, read)


def write_fit(folder: Path, source: Source, *, validation_fraction: float, seed: int) -> Meta:
    """Write training and validation images to a folder, which is replaced, whole or not at all.

    A source without validation images of its own gives a fraction (0..1) of each class of its training images, drawn
    by the seed; a UserError if a class has too few to be split.
    """
    train, validation = source.train, source.validation
    if validation is None:
        where, reason = source.origin.get("address", source.origin["source"]), "training needs one and validation one"
        require_images(train.labels, source.classes, least=2, reason=reason, where=where)
        train, validation = divided(train, validation_fraction, runtime.derived_seed(seed, "validation"))
    with atomic_folders(folder) as (new,):
        _write_part(new, "train_", train)
        _write_part(new, "validation_", validation)
        images = map_array(new / "train_images.npy")
        mean, std = channel_statistics(images)
        heldout = 0 if source.test is None else len(source.test)
        meta = Meta(
            classes=source.classes,
            image_size=int(images.shape[1]),
            mean=mean,
            std=std,
            counts={"train": len(train), "validation": len(validation), "heldout": heldout},
            source=source.origin["source"],
            checksum=source.origin["checksum"],
            white=source.white,
            skipped={
                why: {"count": len(names), "files": list(names[:MOST_LISTED])} for why, names in source.skipped.items()
            },
        )
        write_json(new / "meta.json", meta.to_json())
    return meta


def write_heldout(folder: Path, source: Source, *, meta: Meta) -> None:
    """Write the test images and the meta.json that write_fit returned, whole or not at all.

    A UserError if the source has no test images.
    """
    if source.test is None or len(source.test) == 0:
        raise UserError(f"data.source: {meta.source} has no test images, but at least one is needed")
    with atomic_folders(folder) as (new,):
        _write_part(new, "", source.test)
        write_json(new / "meta.json", meta.to_json())


def open_fit(folder: Path, budget_mib: int = DEVICE_BUDGET_MIB) -> Fit:
    """Training and validation images that `write_fit` wrote, mapped; a UserError names a damaged file."""
    meta = read_meta(folder)
    train, validation = (
        open_arrays(folder, meta, prefix=prefix, budget_mib=budget_mib) for prefix in ("train_", "validation_")
    )
    return Fit(train, validation, meta)


def read_meta(folder: Path) -> Meta:
    """meta.json of a data folder; a UserError names it where it is missing or damaged."""
    path = folder / "meta.json"
    content: Any = read_json(path)
    names = [entry.name for entry in fields(Meta)]
    if not isinstance(content, dict) or not {*names[:-2]} <= {*content} <= {*names}:
        raise UserError(f"{path}: must hold {', '.join(names[:-2])}; run the download stage again")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
    return Meta(**values)


def open_arrays(folder: Path, meta: Meta, *, prefix: str, budget_mib: int) -> Arrays:
    """The images (mapped) and labels named with this prefix; a UserError names a damaged file."""
    images = _open(folder / f"{prefix}images.npy", map_array)
    labels = _open(folder / f"{prefix}labels.npy", lambda path: np.load(path, allow_pickle=False))
    expected = (len(labels), meta.image_size, meta.image_size, 3)
    if images.dtype != np.uint8 or images.shape != expected:
        raise UserError(
            f"{folder / f'{prefix}images.npy'}: must be uint8 {expected}, got {images.dtype} {images.shape}"
        )
    return Arrays(images, labels, budget_mib)


def _open(path: Path, read: Callable[[Path], np.ndarray]) -> np.ndarray:
    try:
        return read(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the download stage first") from None
    except DAMAGED as error:
        raise UserError(f"{path}: damaged ({error}); run the download stage again") from error


def sampled(arrays: Arrays, count: int, seed: int) -> Arrays:
    """`count` images, one or more, drawn without replacement, in stored order; the arrays themselves if these are all.

    Stored images may have some order, so the first ones are no sample. Above the arrays' budget those drawn lie in a
    nameless file in scratch.
    """
    if count >= len(arrays):
        return arrays
    random = np.random.default_rng(runtime.derived_seed(seed, "sample", count))
    rows = np.sort(random.permutation(len(arrays))[:count])
    pieces = (arrays.images[rows[i : i + SAMPLED_AT_ONCE]] for i in range(0, count, SAMPLED_AT_ONCE))
    shape = (count, *arrays.images.shape[1:])
    return Arrays(collected(pieces, shape, arrays.budget_mib, "sampled"), arrays.labels[rows], arrays.budget_mib)


def stratified(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the same fraction (0..1) of every class at random, given the classes (n,) of all images.

    Of n images of a class round(fraction * n) are drawn, but at least one and at most n - 1: a class of two
    or more images is on both sides, a single image is always kept.

    Returns:
        (kept_indices, drawn_indices): row numbers, each ascending; together they are all rows.
    """
    random = np.random.default_rng(seed)
    drawn = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(max(1, int(fraction * len(rows) + 0.5)), len(rows) - 1)
        drawn[random.permutation(rows)[:count]] = True
    return np.flatnonzero(~drawn), np.flatnonzero(drawn)


def divided(part: Part, fraction: float, seed: int) -> tuple[Part, Part]:
    """The images that `stratified` keeps, and those that it draws."""

    def subset(rows: np.ndarray) -> Part:
        return Part(part.labels[rows], lambda index: part.read(int(rows[index])))

    kept, drawn = stratified(part.labels, fraction, seed)
    return subset(kept), subset(drawn)


def require_images(labels: np.ndarray, classes: Sequence[str], *, least: int, reason: str, where: str) -> None:
    """Refuse a class of fewer than `least` images with a UserError that says where, which and why."""
    counts = np.bincount(labels, minlength=len(classes))
    for name, count in zip(classes, counts, strict=True):
        if count < least:
            raise UserError(f"{where}: class {name!r} must have at least {least} images, got {count}: {reason}")


def channel_statistics(images: UInt8[np.ndarray, "images height width 3"]) -> tuple[Triple, Triple]:
    """Mean and population standard deviation of R, G and B, of values scaled to 0..1, to 6 digits; see `Meta`.

    Counted, not summed: how often each of the 256 values occurs is exact, whatever the order and the chunks.
    """
    counts = np.zeros((3, 256), dtype=np.int64)
    step = max(1, STATISTICS_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(images), step):
        chunk = images[start : start + step]
        for channel in range(3):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    shares = counts / counts.sum(axis=1, keepdims=True)
    values = np.arange(256) / 255
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1))
    return _rounded(mean), _rounded(np.maximum(std, ONE_GREY_LEVEL))


def _rounded(values: np.ndarray) -> Triple:
    red, green, blue = (round(float(value), 6) for value in values)
    return red, green, blue


@contextmanager
def atomic_folders(*folders: Path) -> Iterator[tuple[Path, ...]]:
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


def map_array(path: Path) -> np.ndarray:
    """The array of a .npy file, read-only; a row comes from the disk when it is touched.

    A FileNotFoundError, or one of DAMAGED if it is no .npy file of plain numbers, or is cut off.
    """
    return np.asarray(np.lib.format.open_memmap(path, mode="r"))


def write_array(path: Path, pieces: Iterable[np.ndarray], rows: int) -> None:
    """Write pieces of an array of so many rows to a .npy file: the bytes that numpy would save, never all in memory.

    By plain writes, not through a map: on a full disk a write raises an error that can be reported, while a store
    into a mapped page kills the process. A ValueError if rows are not all of one type and shape, or not so many.
    """
    written, kind = 0, None
    with path.open("wb") as file:
        for piece in pieces:
            own = (piece.dtype.str, piece.shape[1:])
            if kind is None:
                kind = own
                header = {"descr": kind[0], "fortran_order": False, "shape": (rows, *kind[1])}
                np.lib.format.write_array_header_1_0(file, header)
            if own != kind:
                raise ValueError(f"{path.name}: rows of {own}, expected {kind}")
            file.write(np.ascontiguousarray(piece).data)
            written += len(piece)
        file.flush()
        os.fsync(file.fileno())
    if written != rows:
        raise ValueError(f"{path.name}: {written} rows, expected {rows}")


def collected(
    pieces: Iterable[UInt8[np.ndarray, "some ..."]], shape: tuple[int, ...], budget_mib: int, name: str
) -> UInt8[np.ndarray, "all ..."]:
    """All pieces of an array of bytes along its first axis, in order: in memory, or above the budget [MiB] mapped.

    The file, in the scratch folder `name`, is one that no folder lists, so it goes with its last reader or with the
    process, however that ends. See `write_array` for why it is not written through a map. An OSError of the disk names
    the file; a ValueError if the pieces do not fill the shape.
    """
    if math.prod(shape) <= budget_mib * BYTES_PER_MIB:
        array, done = np.empty(shape, np.uint8), 0
        for piece in pieces:
            array[done : done + len(piece)] = piece
            done += len(piece)
        return array
    path = runtime.scratch(name) / "rows"
    try:
        with tempfile.TemporaryFile(dir=path.parent) as file:
            for piece in pieces:
                file.write(np.ascontiguousarray(piece).data)
            if file.tell() != math.prod(shape):
                raise ValueError(f"{path}: {file.tell()} bytes, expected {math.prod(shape)}")
            file.flush()
            return np.asarray(np.memmap(file, np.uint8, mode="c", shape=shape))
    except OSError as error:
        error.filename = str(path)
        raise


def _write_part(folder: Path, prefix: str, part: Part) -> None:
    """Images of which neighbours are often of one class are mixed: a batch in stored order is then a sample of all."""
    changes, shares = np.count_nonzero(np.diff(part.labels)), np.bincount(part.labels) / max(1, len(part))
    by_class = changes < MIXED * len(part) * (1 - np.square(shares).sum())
    order = np.random.default_rng(0).permutation(len(part)) if by_class else np.arange(len(part))
    write_array(folder / f"{prefix}labels.npy", [part.labels[order].astype("<i8")], len(part))
    images = (part.read(index)[None] for index in tqdm(order.tolist(), desc=f"{prefix}images", disable=None))
    write_array(folder / f"{prefix}images.npy", images, len(part))
