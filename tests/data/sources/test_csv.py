"""Images named in a table, and Hugging Face's image folders."""

from pathlib import Path

import numpy as np
import pytest

from deepcompress.data.sources.csv import Options, inputs, load
from deepcompress.data.store import Source
from deepcompress.errors import UserError
from tests.data.inputs import CLASSES, encoded, image_files, make_folder, make_zip, packed, pixels, sizes

IMAGES = image_files()
ROWS = [(name, name.split("/")[1], name.split("/")[0]) for name in IMAGES]


def table(*header: str, rows: list[tuple[str, ...]] = ROWS, delimiter: str = ",") -> str:  # type: ignore[assignment]
    return "\n".join(delimiter.join(row) for row in [header, *rows]) + "\n"


def write(folder: Path, text: str | bytes, files: dict[str, bytes] = IMAGES, *, name: str = "labels.csv") -> Path:
    make_folder(folder, files)
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


def read(path: Path, **options: str) -> Source:
    return load(Options(path=str(path), **options), stored_size=8, seed=0, workspace=path.parent)


@pytest.mark.parametrize(
    "text",
    [
        table("path", "label", "split"),
        table("file_name", "Class", "subset", delimiter=";"),
        table("filename", "category", "Split", delimiter="\t"),
        "\ufeff" + table("image", "target", "partition"),
        table("path", "label", "split").encode("utf-16"),
        table("path", "label", "split").replace("\n", "\r\n"),
        table("path", "label", "split", rows=[(f" {a} ", f"{b} ", c.upper()) for a, b, c in ROWS]),
        table("path", "label", "split", rows=[(f'"{a}"', f'"{b}"', c) for a, b, c in ROWS]) + "\n\n",
        table("path", "label", "split", rows=[(a.replace("/", "\\"), b, f"{c}ing") for a, b, c in ROWS]),
        table("split", "label", "n", "path", rows=[(c, b, "7", a) for a, b, c in ROWS]),
    ],
    ids=["plain", "semicolon", "tab", "bom", "UTF-16", "crlf", "spaces", "quotes", "backslashes", "more columns"],
)
def test_tables_as_people_write_them_give_the_same_images(tmp_path: Path, text: str | bytes) -> None:
    source = read(write(tmp_path, text))
    assert source.classes == CLASSES
    assert sizes(source) == (12, 0, 6)
    assert [source.train.read(i).tobytes() for i in range(12)] == [pixels(i, 8, 8, 3).tobytes() for i in range(12)]


def test_validation_images_are_taken_from_the_table(tmp_path: Path) -> None:
    rows = [
        (name, label, "valid" if name.endswith("/0.png") and split == "train" else split) for name, label, split in ROWS
    ]
    assert sizes(read(write(tmp_path, table("path", "label", "split", rows=rows)))) == (9, 3, 6)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([*map(str, range(12))], [*map(str, range(12))]),
        (["1", "01", "001", "2", "0002"], ["001", "01", "1", "0002", "2"]),
        (["9", "1" * 5000, "10"], ["10", "1" * 5000, "9"]),  # as text
    ],
    ids=["plain", "equal ones in two ways", "thousands of digits"],
)
def test_numbers_are_ordered_as_numbers(tmp_path: Path, labels: list[str], expected: list[str]) -> None:
    rows = [(f"{n}_{i}.png", label) for n, label in enumerate(labels) for i in range(3)]
    files = {name: encoded(pixels(n, 8, 8, 3)) for n, (name, _) in enumerate(rows)}
    assert read(write(tmp_path, table("path", "label", rows=rows), files)).classes == tuple(expected)


def test_without_splits_images_are_to_learn_from_or_held_out_and_of_a_line_that_is_there_twice_one_stays(
    tmp_path: Path,
) -> None:
    rows = [row[:2] for row in ROWS]
    source = read(write(tmp_path, table("path", "label", rows=[*rows, rows[0], rows[0]])))
    assert sizes(source) == (15, 0, 3)
    assert source.skipped == {"duplicate": (rows[0][0], rows[0][0])}


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_an_image_folder_of_hugging_face_is_read(tmp_path: Path, kind: str) -> None:
    files = {}
    for split in ("train", "test"):
        inside = {name.replace("/", "-"): data for name, data in IMAGES.items() if name.startswith(split)}
        rows = [(name, name.split("-")[1]) for name in inside]
        files |= {f"pets/{split}/{name}": data for name, data in inside.items()}
        files[f"pets/{split}/metadata.csv"] = table("file_name", "label", rows=rows).encode()
    source = read(packed(tmp_path, kind, files))
    assert source.classes == CLASSES
    assert sizes(source) == (12, 0, 6)


def test_images_may_lie_elsewhere_also_in_an_archive(tmp_path: Path) -> None:
    text = table("path", "label", "split")
    make_folder(tmp_path / "elsewhere", IMAGES)
    archive = make_zip(tmp_path / "x.zip", IMAGES)
    assert sizes(read(write(tmp_path / "t", text, {}), images=str(tmp_path / "elsewhere"))) == (12, 0, 6)
    assert sizes(read(tmp_path / "t/labels.csv", images=str(archive))) == (12, 0, 6)
    absolute = [(str(tmp_path / "elsewhere" / name), label, split) for name, label, split in ROWS]
    assert sizes(read(write(tmp_path / "u", table("path", "label", "split", rows=absolute), {}))) == (12, 0, 6)


def test_accents_written_in_two_ways_are_one_class(tmp_path: Path) -> None:
    rows = [(name, label.replace("ant", "é" if i % 2 else "e\u0301"), s) for i, (name, label, s) in enumerate(ROWS)]
    assert read(write(tmp_path, table("path", "label", "split", rows=rows))).classes == ("bee", "cat", "é")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first line must name a column for the path, one of path, file_name, .* found nothing"),
        ("name,label\n", "must name a column for the path, .* found name, label"),
        ("path,what\n", "must name a column for the label, one of label, class, .* found path, what"),
        ("path,label\n", "at least two classes are needed in train, found none"),
        ("path,label\ntrain/ant/0.png,ant\n", "at least two classes .* found ant"),
        ("path,label\ntrain/ant/9.png,ant\n", r"labels\.csv, line 2: train/ant/9\.png: no such file"),
        ("path,label\ntrain/ant/0.png,\n", r"labels\.csv, line 2: must hold a path and a label"),
        ("path,label\n,ant\n", "line 2: must hold a path"),
        ("path,label,split\ntrain/ant/0.png,ant,fold1\n", "line 2: the split must be one of train, .* got 'fold1'"),
        ("path,label\ntrain,ant\0\n", r"labels\.csv, line 2: holds a zero byte, .* save the table anew as UTF-8"),
        (table("path", "label") + "\n" * 5000 + "a.png,\0ant\n", "line 5020: holds a zero byte"),
        (table("path", "label").encode("utf-16-le"), "line 1: holds a zero byte"),
        ("path,label\n\xe9,ant\n".encode("latin-1"), "is no UTF-8; save it as UTF-8"),
        (table("path", "label", "split", rows=[*ROWS[:12], ("test/ant/0.png", "dog", "test")]), "test has class 'dog'"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_table_is_named(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(write(tmp_path, text))


def test_a_folder_without_a_table_and_a_missing_path_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no metadata\.csv"):
        read(make_folder(tmp_path / "x", IMAGES))
    with pytest.raises(UserError, match=r"none\.csv: no such file or folder"):
        read(tmp_path / "none.csv")
    with pytest.raises(UserError, match=r"params\.yaml: data\.csv\.path must name a table"):
        load(Options(), stored_size=8, seed=0, workspace=tmp_path)


def test_what_is_read_is_the_table_and_the_images_that_it_names(tmp_path: Path) -> None:
    path = write(tmp_path, table("path", "label", "split", rows=ROWS[:2]))
    assert inputs(Options(path=str(path))) == [path, tmp_path / ROWS[0][0], tmp_path / ROWS[1][0]]
    archive = make_zip(tmp_path / "x.zip", IMAGES)
    assert inputs(Options(path=str(path), images=str(archive))) == [path, archive]
    assert inputs(Options(path=str(archive))) == [archive]
    assert np.all([entry.is_absolute() for entry in inputs(Options(path="nowhere"))])
