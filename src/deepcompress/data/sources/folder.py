"""The user's own images: a folder or archive of train/<class>/* and, optionally, test/<class>/*.

One folder around train/ and test/ is accepted, folders within a class too; hidden files and what file
managers leave behind are ignored. Classes are the sorted names, images are ordered by their paths. Every
image is scaled to data.stored_size (shorter side, then centre crop). Without test/, a fraction of each class
is held out.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from pathlib import Path

import numpy as np
from pydantic import Field

from deepcompress.data.archives import SUFFIXES, Tree, open_tree
from deepcompress.data.images import decode
from deepcompress.data.store import Part, Source, require_images, stratified
from deepcompress.errors import UserError
from deepcompress.files import sha256
from deepcompress.params import Section
from deepcompress.runtime import derived_seed

logger = logging.getLogger(__name__)
LITTER = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})


class Options(Section):
    """The `data.folder` block.

    Attributes:
        path: A folder, .zip, .tar or .tar.gz; relative paths start at the repository.
        heldout_fraction: Fraction of each class that becomes the test images where there is no test/.
    """

    path: str | None = None
    heldout_fraction: float = Field(default=0.2, gt=0, lt=1)


def load(options: Options, *, stored_size: int, seed: int, workspace: Path) -> Source:
    """List the images; each is decoded when it is read.

    Args:
        options: The `data.folder` block.
        stored_size: Side of the images, pixels.
        seed: Decides what is held out where there is no test/.
        workspace: For the unpacked copy of a .tar.gz.

    Raises:
        UserError: If the path is not set, or what lies there is refused; names the file.
    """
    if not options.path:
        raise UserError(
            f"params.yaml: data.folder.path must name a folder or a file ending in {', '.join(SUFFIXES)}, "
            f"got {options.path!r}"
        )
    path = Path(options.path).expanduser()
    tree = open_tree(path, workspace)
    train, test = _layout(tree, path)
    classes = _classes(train, test, path)
    train_part = _part(tree, train, path=path, stored_size=stored_size)
    if test:
        test_part = _part(tree, test, path=path, stored_size=stored_size)
    else:
        reason = "without test/ every class is split in three"
        require_images(train_part.labels, classes, least=3, reason=reason, where=str(path))
        drawn = stratified(train_part.labels, options.heldout_fraction, derived_seed(seed, "heldout"))
        train_part, test_part = (_subset(train_part, rows) for rows in drawn)
    origin = {"source": "folder", "checksum": f"sha256:{_checksum(tree, path, (train, test))}"}
    return Source(classes, train_part, test_part, {**origin, "address": str(path)})


def _layout(tree: Tree, path: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    files = [name for name in tree.files if not _is_litter(name)]
    folders = [name for name in tree.folders if not _is_litter(name)]
    if not files:
        raise UserError(f"{path}: holds no files")
    top = _top([*files, *(f"{folder}/" for folder in folders)], path)
    _tell_ignored(files, top)
    train, test = (_members(files, folders, f"{top}{part}/", path) for part in ("train", "test"))
    return train, test


def _is_litter(name: str) -> bool:
    return any(part.startswith(".") or part in LITTER for part in name.split("/"))


def _top(names: list[str], path: Path) -> str:
    """What stands before train/: nothing, or the one folder around everything."""
    if any(name.startswith("train/") for name in names):
        return ""
    tops = sorted({name.split("/")[0] for name in names if "/" in name})
    around = [top for top in tops if any(name.startswith(f"{top}/train/") for name in names)]
    if len(around) != 1:
        found = ", ".join(tops[:5]) or "no folders"
        raise UserError(f"{path}: must hold train/<class>/ folders with images, found {found}")
    return f"{around[0]}/"


def _tell_ignored(files: list[str], top: str) -> None:
    others: dict[str, int] = defaultdict(int)
    for name in files:
        if not name.startswith((f"{top}train/", f"{top}test/")):
            others[name.removeprefix(top).split("/")[0]] += 1
    if others:
        logger.warning("neither train/ nor test/, ignored: %s", ", ".join(sorted(others)))


def _members(files: list[str], folders: list[str], prefix: str, path: Path) -> dict[str, list[str]]:
    """Class name -> its files; no classes if there is no such folder."""
    inside = [name.removeprefix(prefix) for name in folders if name.startswith(prefix)]
    members: dict[str, list[str]] = {name.split("/")[0]: [] for name in inside}
    for name in files:
        if name.startswith(prefix):
            folder, slash, _ = name.removeprefix(prefix).partition("/")
            if not slash:
                raise UserError(f"{path}: {name} is in no class folder, it must lie in {prefix}<class>/")
            members.setdefault(folder, []).append(name)
    for folder, names in members.items():
        if not names:
            raise UserError(f"{path}: class folder {prefix}{folder}/ is empty, it needs images")
    if not members and prefix.removesuffix("/") in folders:
        raise UserError(f"{path}: {prefix} is empty, it must hold a folder per class")
    return members


def _classes(train: dict[str, list[str]], test: dict[str, list[str]], path: Path) -> tuple[str, ...]:
    if len(train) < 2:
        found = ", ".join(train) or "none"
        raise UserError(f"{path}: at least two class folders are needed in train/, found {found}")
    for name in sorted(test.keys() - train.keys()):
        raise UserError(f"{path}: test/{name} is a class that train/ does not have")
    for name in sorted(train.keys() - test.keys()) if test else ():
        raise UserError(f"{path}: test/ has no class {name!r}, which train/ has")
    return tuple(sorted(train))


def _part(tree: Tree, members: dict[str, list[str]], *, path: Path, stored_size: int) -> Part:
    names = [name for folder in sorted(members) for name in members[folder]]
    counts = [len(members[folder]) for folder in sorted(members)]

    def read(index: int) -> np.ndarray:
        return decode(tree.read(names[index]), stored_size, name=f"{path}: {names[index]}")

    return Part(labels=np.repeat(np.arange(len(counts), dtype=np.int64), counts), read=read)


def _subset(part: Part, rows: np.ndarray) -> Part:
    return Part(labels=part.labels[rows], read=lambda index: part.read(int(rows[index])))


def _checksum(tree: Tree, path: Path, layout: tuple[dict[str, list[str]], ...]) -> str:
    """Of the archive; of a folder, over the names and contents of the images."""
    if path.is_file():
        return sha256(path)
    digest = hashlib.sha256()
    for members in layout:
        for name in sorted(name for names in members.values() for name in names):
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
            digest.update(hashlib.sha256(tree.read(name)).digest())
    return digest.hexdigest()
