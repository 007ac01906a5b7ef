"""The user's own images: a folder or archive of train/<class>/* and, optionally, validation/ and test/.

Or <class>/* alone. Folders around everything are looked through, folders within a class too; what is no image is
ignored (data/archives.py). Classes are the sorted names, in Unicode's form NFC; images are ordered by class and path.
Every image is scaled to data.stored_size (shorter side, then centre crop). Without test/, a fraction of each class is
held out.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from deepcompress.data.archives import READABLE, Tree, counts, is_litter, is_unicode, open_tree, suffix
from deepcompress.data.labelled import SPLITS, TABLE, Files, Labelled, Split, as_source
from deepcompress.data.store import Source
from deepcompress.errors import MOST_NAMED, UserError, named
from deepcompress.files import from_repository

logger = logging.getLogger(__name__)
GUESSES = ("cp932", "gbk", "big5", "euc_kr", "cp1251", "cp437", "cp1252")  # encodings of names, for a message
LIKE_SPLIT = re.compile(
    r"(train|learn|test|val|eval|dev)(ing|id|idation|uation|elopment)?(set|data|images?|photos?)?(\W|_|\d|$)|held?.?out",
    re.IGNORECASE,
)
OF_PROGRAMS = (  # how hidden folders of theirs start
    *(".git", ".dvc", ".hg", ".svn", ".cache", ".ipynb_checkpoints", ".appledouble", ".trash", ".thumb", ".@__thumb"),
    *(".picasa", ".stfolder", ".stversions", ".sync", ".dropbox", ".idea", ".vscode", ".fseventsd", ".spotlight"),
    ".documentrevisions",
)
PACKED = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst"}

Folder = tuple[str, ...]
"""Names from the top downwards."""


class Options(Files):
    """The `data.folder` block; its path is a folder or an archive."""


def load(options: Options, *, stored_size: int, seed: int, workspace: Path) -> Source:
    """List the images; each is decoded when it is read.

    A UserError if the path is not set, or what lies there is refused; it names the file.
    """
    (path,) = inputs(options)
    tree = open_tree(path, workspace, options.names_encoding)
    files, classes = _layout(tree, path)
    origin = {"source": "folder", "address": str(path)}
    return as_source(files, tree.read, options, classes=classes, origin=origin, stored_size=stored_size, seed=seed)


def inputs(options: Options) -> list[Path]:
    """What is read of the user's own files; see dependencies.py."""
    if not options.path:
        raise UserError(
            f"params.yaml: data.folder.path must name a folder, a .zip or a tar archive, got {options.path!r}"
        )
    return [from_repository(options.path)]


def _layout(tree: Tree, path: Path) -> tuple[list[Labelled], tuple[str, ...]]:
    """Every file of a class, in the order in which images are stored, and the classes."""
    files = [name for name in tree.files if not is_litter(name)]
    folders = {tuple(name.split("/")) for name in tree.folders if not is_litter(name)}
    if hidden := _hidden(tree.files):
        logger.warning("%s: hidden by their names, ignored with the images in them: %s", path, named(hidden))
    if not files:
        raise UserError(f"{path}: holds no files")
    for name in files:
        parts = tuple(name.split("/"))
        folders |= {parts[:depth] for depth in range(1, len(parts))}
    splits = _splits(folders, path) or _classes_alone(files, folders, path)
    found = {
        (_class_name(folder, path), split): list[Labelled]()
        for place, split in splits.items()
        for folder in _children(folders, place)
    }
    others: list[str] = []
    for name in files:
        parts = tuple(name.split("/"))
        place = next((parts[:depth] for depth in range(len(parts)) if parts[:depth] in splits), parts)
        if len(parts) > len(place) + 1:
            label, split = _class_name(parts[: len(place) + 1], path), splits[place]
            found[label, split].append(Labelled(name, label, split))
            continue
        others.append(name)
        if place != parts and counts(name, tree.read(name)):
            around = "/".join((*place, "<class>/"))
            own = f" (or, if {place[-1]} is a class, in train/{place[-1]}/)" if place in _splits(folders, path) else ""
            raise UserError(f"{path}: {name} is in no class folder, it must lie in {around}{own}{_hint(files)}")
    if others:
        logger.warning("%s: in no class folder, ignored: %s", path, named(others))
    return [file for key in sorted(found) for file in found[key]], _classes(found, splits, path)


def _hidden(files: Iterable[str]) -> list[str]:
    """Folders that someone, and no program, hid with a dot in front, and that hold images by their names."""
    found: dict[str, None] = {}
    for name in files:
        *folders, last = name.split("/")
        depth = next((depth for depth, part in enumerate(folders) if is_litter(part)), None)
        if depth is not None and suffix(last) in READABLE and not is_litter(last):
            hidden = folders[depth].casefold()
            if hidden.startswith(".") and not hidden.startswith(OF_PROGRAMS):
                found["/".join(folders[: depth + 1]) + "/"] = None
    return list(found)


def _splits(folders: set[Folder], path: Path) -> dict[Folder, Split]:
    """The folders train/, val/ and test/, by any of their names, nearest to the top; none if there is no train/."""
    tops = {folder[:-1] for folder in folders if SPLITS.get(folder[-1].casefold()) == "train"}
    nearest = [top for top in tops if len(top) == min(map(len, tops))]
    if len(nearest) > 1:
        raise UserError(
            f"{path}: must hold one train/, found several: {', '.join(sorted('/'.join(top) for top in nearest))}"
        )
    splits: dict[Folder, Split] = {}
    for folder in _children(folders, nearest[0]) if nearest else []:
        split = SPLITS.get(folder[-1].casefold())
        if split in splits.values():
            both = [*(name for name in splits if splits[name] == split), folder]
            merged = " and ".join(f"{'/'.join(name)}/" for name in both)
            raise UserError(f"{path}: {merged} are both {split}; merge them")
        if split:
            splits[folder] = split
    return splits


def _classes_alone(files: list[str], folders: set[Folder], path: Path) -> dict[Folder, Split]:
    """The folder of class folders where nobody split them: all of it is train/.

    Only where it can be nothing else: each holds files and no folders, and none is called as a split might be.
    """
    top: Folder = ()
    while len(inside := _children(folders, top)) == 1:
        top = inside[0]
    nested = sorted("/".join(folder) for folder in folders if len(folder) > len(top) + 1)
    parts = [name for name in (*top, *(folder[-1] for folder in inside)) if LIKE_SPLIT.match(name)]
    if len(inside) < 2 or nested or parts:
        around = f"{'/'.join(top)}/ alone" if top else "no folders"
        listed = ", ".join(folder[-1] for folder in inside[:MOST_NAMED]) or around
        listed += f", and in one of them {nested[0]}/, which needs train/ above" if nested and len(inside) > 1 else ""
        listed += f", where {parts[0]}/ seems to be a part of a split" if parts and len(inside) > 1 else ""
        raise UserError(
            f"{path}: must hold train/<class>/ folders with images (test/ and val/, too, or <class>/ folders alone)"
            f", renamed so{_hint(files)}; found {listed}"
        )
    return {top: "train"}


def _hint(files: Iterable[str]) -> str:
    names = [name.split("/")[-1] for name in files]
    if TABLE in names:
        return f"; for the labels of {TABLE}, set data.source: csv"
    packed = next((name for name in names if suffix(name) in PACKED), None)
    return f"; {packed} within must be unpacked first" if packed else ""


def _children(folders: Iterable[Folder], place: Folder) -> list[Folder]:
    return sorted(folder for folder in folders if folder[:-1] == place and len(folder) == len(place) + 1)


def _class_name(folder: Folder, path: Path) -> str:
    name = folder[-1]
    if not is_unicode(name):
        raw, readings = name.encode("utf-8", "surrogateescape"), []
        for encoding in GUESSES:
            text = raw.decode(encoding, "replace")
            if text.isprintable() and "\ufffd" not in text:
                readings.append(f"{encoding} ({text})")
        raise UserError(
            f"{path}: the name of the class folder {'/'.join(folder)} is no UTF-8; rename it, or say in "
            f"data.folder.names_encoding what it was written in: {', '.join(readings)}"
        )
    return unicodedata.normalize("NFC", name)


def _classes(
    found: Mapping[tuple[str, Split], list[Labelled]], splits: dict[Folder, Split], path: Path
) -> tuple[str, ...]:
    classes = {split: {name for name, part in found if part == split} for split in splits.values()}
    train = classes["train"]
    if len(train) < 2:
        raise UserError(f"{path}: at least two class folders are needed in train/, found {', '.join(train) or 'none'}")
    places = {split: "".join(f"{part}/" for part in folder) for folder, split in splits.items()}
    for (name, split), inside in sorted(found.items()):
        if not inside:
            raise UserError(f"{path}: class folder {places[split]}{name}/ is empty, it needs images")
    for split, place in places.items():
        if not classes[split]:
            raise UserError(f"{path}: {place} is empty, it must hold a folder per class")
        for name in sorted(classes[split] - train):
            raise UserError(f"{path}: {place}{name} is a class that train/ does not have")
        for name in sorted(train - classes[split]):
            raise UserError(f"{path}: {place} has no class {name!r}, which train/ has")
    return tuple(sorted(train))
