"""The user's own images, named in a table of path, label and, optionally, split; also Hugging Face's image folders.

`data.csv.path` is the table, or a folder or archive with a metadata.csv beside images: train/metadata.csv,
test/metadata.csv, or one at the top. Paths start at the table's folder, or at `data.csv.images`. Splits have the names
that folders may have; without one, or where it stays empty, an image is one to learn from, unless the table lies in a
folder that says otherwise.
"""

from __future__ import annotations

import codecs
import csv
import io
import posixpath
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from deepcompress.data.archives import PACKERS, ZIP, Tree, is_litter, open_tree, suffix
from deepcompress.data.labelled import SPLITS, TABLE, Files, Labelled, as_source
from deepcompress.data.store import Source
from deepcompress.errors import UserError, named
from deepcompress.files import from_repository

COLUMNS = {  # what a column is called, in small letters
    "path": ("path", "file_name", "filename", "file", "image", "image_path", "filepath"),
    "label": ("label", "class", "class_name", "category", "target"),
    "split": ("split", "subset", "partition"),
}
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
TABLES = (".csv", ".tsv", ".txt")  # suffixes
DELIMITERS = ",;\t|"
MOST_DIGITS = sys.int_info.str_digits_check_threshold  # of a label that Python may be forbidden to read as a number


class Options(Files):
    """The `data.csv` block; its path is a table, or what holds a metadata.csv."""

    images: str | None = None  # folder or archive at which the table's paths start; None: where the table lies


def load(options: Options, *, stored_size: int, seed: int, workspace: Path) -> Source:
    """Read the table; each image is decoded when it is read.

    A UserError if the path is not set, the table lacks a column or a file, or an image is refused; it names the line.
    """
    path, top = _places(options)
    exists: Callable[[str], bool]
    if top is None or top.is_file():
        tree = open_tree(top or path, workspace, options.names_encoding)
        read, exists = tree.read, frozenset(tree.files).__contains__
    else:
        read, exists = lambda name: (top / name).read_bytes(), lambda name: (top / name).is_file()
    files = list(_tables(tree, path) if top is None else _rows(path.read_bytes(), str(path), "", exists))
    labels = {file.label for file in files if file.split == "train"}
    by_number = all(label.isdecimal() and len(label) <= MOST_DIGITS for label in labels)
    # Both 1 and 01 may be there, and a set has no order.
    classes = tuple(sorted(labels, key=lambda label: (int(label) if by_number else 0, label)))
    if len(classes) < 2:
        raise UserError(f"{path}: at least two classes are needed in train, found {', '.join(classes) or 'none'}")
    for file in files:
        if file.label not in labels:
            raise UserError(f"{path}: {file.split} has class {file.label!r}, which train does not have")
    files.sort(key=lambda file: classes.index(file.label))
    origin = {"source": "csv", "address": str(path)}
    return as_source(files, read, options, classes=classes, origin=origin, stored_size=stored_size, seed=seed)


def inputs(options: Options) -> list[Path]:
    """What is read of the user's own files; see dependencies.py."""
    path, top = _places(options)
    if top is None or not top.is_dir():
        return [path] if top is None else [path, top]
    return [path, *(top / file.name for file in _rows(path.read_bytes(), str(path), "", lambda name: True))]


def _places(options: Options) -> tuple[Path, Path | None]:
    """The table, and where its paths start; or a folder or archive that holds its table, and None."""
    if not options.path:
        raise UserError(f"params.yaml: data.csv.path must name a table of path and label, got {options.path!r}")
    path = from_repository(options.path)
    if not path.is_file() or not _is_text(path):
        return path, None
    return path, path.parent if options.images is None else from_repository(options.images)


def _is_text(path: Path) -> bool:
    """Text has no zero bytes, but Excel also writes UTF-16, which says so; of a table by its name `_rows` tells."""
    with path.open("rb") as file:
        head = file.read(4096)
    is_table = suffix(path.name) in TABLES and not head.startswith((ZIP, *PACKERS))
    return is_table or head.startswith(UTF16) or b"\0" not in head


def _tables(tree: Tree, path: Path) -> Iterator[Labelled]:
    tables = [name for name in tree.files if name.split("/")[-1] == TABLE and not is_litter(name)]
    if not tables:
        raise UserError(f"{path}: holds no {TABLE}; name the table itself, or use data.source: folder")
    there = frozenset(tree.files)
    for table in tables:
        yield from _rows(tree.read(table), f"{path}: {table}", posixpath.dirname(table), there.__contains__)


def _rows(content: bytes, table: str, folder: str, exists: Callable[[str], bool]) -> Iterator[Labelled]:
    """A labelled file for each line of a table whose paths start at a folder, which may have the name of a split."""
    try:
        text = content.decode("utf-16" if content.startswith(UTF16) else "utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{table}: is no UTF-8; save it as UTF-8") from None
    before, zero, _ = text.partition("\0")
    if zero:
        number = before.count("\n") + 1
        raise UserError(f"{table}, line {number}: holds a zero byte, which no text has; save the table anew as UTF-8")
    first = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = [name.strip().casefold() for name in next(lines, [])]
        columns = {key: _column(key, header, table) for key in COLUMNS}
        for line in lines:
            if not any(cell.strip() for cell in line):
                continue
            cells = {key: line[at].strip() if at is not None and at < len(line) else "" for key, at in columns.items()}
            yield _labelled(cells, f"{table}, line {lines.line_num}", folder, exists)
    except csv.Error as error:
        raise UserError(f"{table}, line {lines.line_num}: no row of a table ({error})") from None


def _column(key: str, header: list[str], table: str) -> int | None:
    at = next((header.index(name) for name in COLUMNS[key] if name in header), None)
    if at is None and key != "split":
        raise UserError(
            f"{table}: the first line must name a column for the {key}, one of {', '.join(COLUMNS[key])}; "
            f"found {named(header) or 'nothing'}"
        )
    return at


def _labelled(cells: dict[str, str], line: str, folder: str, exists: Callable[[str], bool]) -> Labelled:
    if not cells["path"] or not cells["label"]:
        raise UserError(f"{line}: must hold a path and a label")
    split = cells["split"] or next((part for part in reversed(folder.split("/")) if part.casefold() in SPLITS), "train")
    if split.casefold() not in SPLITS:
        raise UserError(f"{line}: the split must be one of {', '.join(SPLITS)}, got {split!r}")
    name = posixpath.normpath(posixpath.join(folder, cells["path"].replace("\\", "/")))
    if not exists(name):
        raise UserError(f"{line}: {name}: no such file")
    label = unicodedata.normalize("NFC", cells["label"])
    return Labelled(name, label, SPLITS[split.casefold()])
