"""Labelled image files, wherever their labels come from, to a source: what is no image, damaged or there twice goes.

Every file is looked at once before any is stored, so that a data set is refused before work starts, and so that what
is left out is known. An image that lies on both sides of a split breaks every claim about accuracy: the copy that a
network would learn from goes, or the run stops.
"""

from __future__ import annotations

import codecs
import hashlib
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field
from tqdm import tqdm

from deepcompress.data import images
from deepcompress.data.archives import counts
from deepcompress.data.images import WHITE
from deepcompress.data.store import Part, Source, divided, require_images
from deepcompress.errors import UserError, named
from deepcompress.params import Section
from deepcompress.runtime import derived_seed

logger = logging.getLogger(__name__)

Split = Literal["train", "validation", "test"]
SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""What people call the three, in small letters."""

TABLE = "metadata.csv"  # of a folder of images as Hugging Face keeps it
KEPT_FIRST: tuple[Split, ...] = ("test", "validation", "train")  # of copies, the one that is worth most stays
BAD_PCT = 1.0  # of all images may be skipped
SAMPLED = 64  # images that are asked for their range
FAR_BELOW = 4  # a set whose largest value is under this fraction of its container's


def _known_encoding(name: str | None) -> str | None:
    try:
        return name and codecs.lookup(name).name
    except LookupError:
        raise ValueError(f"must be an encoding that Python knows, such as cp932, gbk or cp1252; got {name!r}") from None


class Files(Section):
    """What all sources share that read image files of the user's."""

    path: str | None = None  # where they lie; a relative path starts at the repository
    # Fraction of each class that becomes the test images where there are none.
    heldout_fraction: float = Field(default=0.2, gt=0, lt=1)
    # Whether an image that cannot be read stops the run, or is left out; at most BAD_PCT of them may be left out.
    on_bad_image: Literal["stop", "skip"] = "stop"
    # Whether an image that is there twice, as a file of the same bytes, stops the run, or is left out of the training
    # images (of the validation images where it is one to test on).
    on_duplicate: Literal["stop", "drop"] = "drop"
    # The value of 16-bit grey that becomes white; None: 65535.
    max_value: int | None = Field(default=None, ge=1, le=WHITE)
    # Of file names that are no UTF-8, as old zip programs write them.
    names_encoding: Annotated[str | None, AfterValidator(_known_encoding)] = None


@dataclass(frozen=True)
class Labelled:
    """An image file: the name by which it is read and told of, that of its class, and where it belongs."""

    name: str
    label: str
    split: Split


@dataclass(frozen=True)
class _Scan:
    """What a look at every file showed."""

    images: list[Labelled]  # files that count
    digests: dict[str, bytes]  # name -> SHA-256 of the content, of each of them
    others: list[str]  # names of files that are no images
    bad: dict[str, str]  # name -> why it cannot be read; looked for where such images are to be skipped


def as_source(
    files: Sequence[Labelled],
    read: Callable[[str], bytes],
    options: Files,
    *,
    classes: tuple[str, ...],
    origin: dict[str, str],
    stored_size: int,
    seed: int,
) -> Source:
    """Look at every file and make a source of those that count.

    A UserError if a file is refused, or a class has no image where it needs one.

    Args:
        files: In the order in which images are stored.
        classes: Names, in the order of the labels.
        origin: As of `Source`, without the checksum; "address" goes before the names of files in messages.
        seed: Decides what is held out where there are no test images.
    """
    where, key, white = origin["address"], f"data.{origin['source']}", options.max_value or WHITE
    scan = _scan(files, read, options, where=where, stored_size=stored_size)
    _refuse_many_bad(scan, where, key)
    kept, dropped = _without_duplicates(scan, options, where, key)
    _require_classes(kept, classes, where)
    if options.max_value is None:
        _warn_of_range(kept, read, key)
    if scan.others:
        logger.warning("%s: no images, ignored: %d file(s): %s", where, len(scan.others), named(scan.others))
    digest = hashlib.sha256()
    for file in kept:
        digest.update(f"{file.name}\0{file.label}\0{file.split}\0".encode("utf-8", "surrogateescape"))
        digest.update(scan.digests[file.name])

    def part(split: Split) -> Part | None:
        names = [file.name for file in kept if file.split == split]
        labels = np.array([classes.index(file.label) for file in kept if file.split == split], dtype=np.int64)

        def pixels(index: int) -> np.ndarray:
            return images.decode(read(names[index]), stored_size, name=f"{where}: {names[index]}", white=white)

        return Part(labels, pixels) if names else None

    train, validation, test = part("train"), part("validation"), part("test")
    assert train is not None  # every class has an image there
    if test is None:
        least = 3 if validation is None else 2
        reason = "without test images every class is split"
        require_images(train.labels, classes, least=least, reason=reason, where=where)
        train, test = divided(train, options.heldout_fraction, derived_seed(seed, "heldout"))
    skipped = {"no image": scan.others, "cannot be read": list(scan.bad), "duplicate": dropped}
    told = {why: tuple(names) for why, names in skipped.items() if names}
    checked = {**origin, "checksum": f"sha256:{digest.hexdigest()}"}
    return Source(classes, train, test, checked, validation, white, told)


def _scan(
    files: Sequence[Labelled], read: Callable[[str], bytes], options: Files, *, where: str, stored_size: int
) -> _Scan:
    scan = _Scan([], {}, [], {})
    for file in tqdm(files, desc="looking at files", disable=None):
        content = read(file.name)
        if not counts(file.name, content):
            scan.others.append(file.name)
            continue
        if options.on_bad_image == "skip":
            try:
                images.decode(content, stored_size, name=file.name, white=options.max_value or WHITE)
            except UserError as error:
                scan.bad[file.name] = str(error)
                continue
        scan.images.append(file)
        scan.digests[file.name] = hashlib.sha256(content).digest()
    return scan


def _refuse_many_bad(scan: _Scan, where: str, key: str) -> None:
    if not scan.bad:
        return
    total = len(scan.images) + len(scan.bad)
    first = next(iter(scan.bad.values()))
    if len(scan.bad) > BAD_PCT / 100 * total:
        raise UserError(
            f"{where}: {len(scan.bad)} of {total} images cannot be read, and {key}.on_bad_image: skip leaves out "
            f"{BAD_PCT:g} % at most; the first: {first}"
        )
    logger.warning("%s: %d of %d images cannot be read, left out; the first: %s", where, len(scan.bad), total, first)


def _without_duplicates(scan: _Scan, options: Files, where: str, key: str) -> tuple[list[Labelled], list[str]]:
    """The images without copies of others, and the names of those that went.

    Copies within the training images count where a part of them is drawn from these: they would be on both sides.
    """
    drawn = len({file.split for file in scan.images}) < len(KEPT_FIRST)
    first: dict[bytes, int] = {}
    copies: dict[int, int] = {}  # by place, since a table may name the same file twice, and nothing tells the two apart
    for split in KEPT_FIRST:
        for place, file in enumerate(scan.images):
            if file.split != split:
                continue
            known = first.setdefault(scan.digests[file.name], place)
            if known != place and (scan.images[known].split != split or (drawn and split == "train")):
                copies[place] = known
    if copies:
        pairs = [(scan.images[place], scan.images[known]) for place, known in copies.items()]
        others = sum(copy.label != known.label for copy, known in pairs)
        copy, known_copy = pairs[0]
        counted = "1 image is" if len(copies) == 1 else f"{len(copies)} images are"
        told = (
            f"{where}: {counted} there twice, {others} of them under two classes; the first: "
            f"{known_copy.name} and {copy.name}"
        )
        if options.on_duplicate == "stop":
            raise UserError(f"{told}; remove one of each, or set {key}.on_duplicate: drop")
        logger.warning("%s; one of each is left out", told)
    kept = [file for place, file in enumerate(scan.images) if place not in copies]
    return kept, [scan.images[place].name for place in copies]


def _require_classes(files: Sequence[Labelled], classes: tuple[str, ...], where: str) -> None:
    """Every class has images in each of the splits that there are."""
    there = {(file.split, file.label) for file in files}
    splits = {"train", *(file.split for file in files)}
    for split, name in itertools.product(KEPT_FIRST, classes):
        if split in splits and (split, name) not in there:
            raise UserError(f"{where}: class {name!r} has no image in {split}, it needs some there")


def _warn_of_range(files: Sequence[Labelled], read: Callable[[str], bytes], key: str) -> None:
    """Of a set of 16-bit images that leaves most of the range unused: it would become a few dark grey levels."""
    sample = files[:: max(1, len(files) // SAMPLED)]
    values = [value for file in sample if (value := images.largest_value(read(file.name))) is not None]
    if values and max(values) * FAR_BELOW <= WHITE:
        logger.warning(
            "the largest value of %d images of 16 bits is %d of %d: all will be dark; %s.max_value says which is white",
            *(len(values), max(values), WHITE, key),
        )
