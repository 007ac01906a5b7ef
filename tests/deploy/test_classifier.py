"""The contract in metadata, damaged files, and `predict`: images as the network sees them, without torch."""

import io
import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from deepcompress.__main__ import main
from deepcompress.data import images
from deepcompress.deploy.classifier import Contract, OnnxClassifier, image_files, predict
from deepcompress.deploy.onnx import channels_first, write
from deepcompress.errors import UserError
from tests.data.inputs import CLASSES, encoded, make_folder, pixels
from tests.deploy.conftest import STORED, VIEW, Exported
from tests.processes import printed

CONTRACT = Contract(("ant", "bee, or 'wasp'", "käfer"), 32, 40)


def test_metadata_holds_the_contract() -> None:
    metadata = CONTRACT.to_metadata()
    assert Contract.from_metadata("a.onnx", metadata) == CONTRACT
    assert metadata["contract.images"].startswith("uint8 (n, 3, 32, 32): RGB")
    assert list(metadata) == sorted(metadata)
    assert "white" not in metadata
    twelve_bits = replace(CONTRACT, white=4095)
    assert Contract.from_metadata("a.onnx", twelve_bits.to_metadata()) == twelve_bits


def test_onnx_runtime_leaves_no_number_of_the_machine_behind(tmp_path: Path) -> None:
    printed("import deepcompress, onnxruntime", HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("classes", ("", "[]", "{}", "1", "null", '"ab"', "ant, bee", "[" * 9999)),
        ("image_size", ("", "x", "-1", "0", "1.5", "9" * 30)),
        ("stored_size", ("", "x", "-1", "0", "1.5", "9" * 30)),
        ("white", ("", "0", "65536")),
    ],
)
def test_damaged_metadata_are_refused(key: str, values: tuple[str, ...]) -> None:
    for value in values:
        with pytest.raises(UserError, match=r"^a\.onnx: damaged metadata"):
            Contract.from_metadata("a.onnx", CONTRACT.to_metadata() | {key: value})


def test_missing_metadata_and_those_of_another_graph_are_refused(exported: Exported, tmp_path: Path) -> None:
    for lost, message in (("format", "not a deepcompress export"), ("stored_size", "damaged metadata")):
        kept = {key: value for key, value in CONTRACT.to_metadata().items() if key != lost}
        with pytest.raises(UserError, match=rf"^a\.onnx: {message}"):
            Contract.from_metadata("a.onnx", kept)
    for other in (Contract(CLASSES[:2], VIEW.size, STORED), Contract(CLASSES, 48, STORED)):
        write(tmp_path / "a.onnx", onnx.load(exported.float_file), other)
        with pytest.raises(UserError, match="its input and outputs are not those that its metadata tell of"):
            OnnxClassifier(tmp_path / "a.onnx")


def test_a_folder_no_file_and_a_damaged_one_are_refused(exported: Exported, tmp_path: Path) -> None:
    content, path = exported.float_file.read_bytes(), tmp_path / "damaged.onnx"
    for damaged in (content[: len(content) // 2], b"hello " * 99, b""):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"damaged\.onnx: no ONNX file that can be run"):
            OnnxClassifier(path)
    for other, why in ((tmp_path / "none.onnx", "no such file"), (tmp_path, "is a folder, and must be a file")):
        with pytest.raises(UserError, match=f"^{other}: {why}$"):
            OnnxClassifier(other)


# Image files: `python -m deepcompress predict`.

FILES = {
    "b/2.png": encoded(pixels(2, 50, 70, 3)),
    "a/10.JPG": encoded(pixels(1, 40, 40, 3), "JPEG"),
    "a/1.png": encoded(pixels(3, 40, 40, 3)),
    "a/notes.txt": b"no image",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "pictures", FILES)


def run(exported: Exported, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["predict", "--model", str(exported.float_file), *map(str, arguments)])


def refused(done: Result, message: str) -> None:
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_probabilities_are_those_of_the_stored_image(exported: Exported, folder: Path) -> None:
    done = run(exported, "--json", folder)
    assert done.exit_code == 0, done.output
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(row["file"]).relative_to(folder).as_posix() for row in shown] == ["a/1.png", "a/10.JPG", "b/2.png"]
    stored = np.stack([images.decode(Path(row["file"]).read_bytes(), STORED, name="x") for row in shown])
    logits = OnnxClassifier(exported.float_file).run(channels_first(stored, VIEW.size))
    for row, values in zip(shown, logits, strict=True):
        expected = np.exp(values - values.max()) / np.exp(values - values.max()).sum()
        order = np.argsort(-expected)
        assert [entry["class"] for entry in row["classes"]] == [CLASSES[i] for i in order]
        np.testing.assert_allclose([entry["probability"] for entry in row["classes"]], expected[order], atol=0.02)


def test_an_empty_path_and_a_folder_without_an_image_end_in_one_line(exported: Exported, tmp_path: Path) -> None:
    refused(run(exported, ""), "a path must not be empty.")
    refused(run(exported, make_folder(tmp_path / "empty", {"notes.txt": b""})), "empty: no image below this folder")


def test_top_limits_the_classes_and_lines_name_the_file_of_the_working_folder(
    exported: Exported, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder / "a")
    lines = run(exported, ".", "--top", "1").stdout.splitlines()
    for line, file in zip(lines, ("1.png", "10.JPG"), strict=True):
        assert re.fullmatch(rf"{file}: ({'|'.join(CLASSES)}) [\d.]+ %", line)


BAD = {"a/cut.png": FILES["a/1.png"][:200], "a/empty.jpg": b"", "b/page.jpg": b"<html>"}


def test_each_file_has_its_answer_or_its_error(exported: Exported, folder: Path) -> None:
    make_folder(folder, BAD)
    done = run(exported, "--json", folder, folder / "none.png", folder / "a/notes.txt")
    rows = {Path(row["file"]).relative_to(folder).as_posix(): row for row in map(json.loads, done.stdout.splitlines())}
    assert done.exit_code == 2
    assert {name for name, row in rows.items() if "classes" in row} == {"a/1.png", "a/10.JPG", "b/2.png"}
    assert {name for name, row in rows.items() if "error" in row} == {*BAD, "none.png", "a/notes.txt"}
    assert rows["none.png"]["error"] == f"{folder}/none.png: no such file"
    for name in (*BAD, "a/notes.txt"):
        assert f"{name}: no image that can be read" in rows[name]["error"]
    lines = run(exported, folder)
    assert lines.exit_code == 2
    assert len(lines.stdout.splitlines()) == 3
    assert [line for line in lines.stderr.splitlines() if line.startswith("error: ")] == [
        f"error: {rows[name]['error']}" for name in sorted(BAD)
    ]


def test_a_folder_s_images_are_known_by_content_and_others_are_named(exported: Exported, tmp_path: Path) -> None:
    photo, drawing = FILES["a/10.JPG"], FILES["a/1.png"]
    images_ = {"a.jfif": photo, "b.jpe": photo, "c": drawing, "d.txt": drawing}
    others = {"notes.txt": b"x", "film.mp4": b"\0\0\0\x18ftypmp42"}
    litter = {"._a.png": b"\0\5\x16\7", "@eaDir/a.png": drawing, "Thumbs.db": b"x", "a.png~": drawing}
    done = run(exported, make_folder(tmp_path / "x", images_ | others | litter))
    assert done.exit_code == 0
    assert [line.partition(": ")[0] for line in done.stdout.splitlines()] == [str(tmp_path / "x" / n) for n in images_]
    assert done.stderr == f"no images, skipped 2: {tmp_path}/x/film.mp4, {tmp_path}/x/notes.txt\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_or_a_link_to_nowhere_in_a_folder_is_not_waited_for(folder: Path) -> None:
    for name in ("pipe", "pipe.png"):
        os.mkfifo(folder / name)
    (folder / "link").symlink_to("nowhere")
    assert image_files([folder]) == (
        [folder / name for name in ("a/1.png", "a/10.JPG", "b/2.png")],
        [folder / name for name in ("a/notes.txt", "link", "pipe", "pipe.png")],
    )


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_a_console_of_another_encoding_shows_every_answer(exported: Exported, tmp_path: Path, encoding: str) -> None:
    files = {f"{name}.png": FILES["a/1.png"] for name in ("犬", "é", "\u202e", os.fsdecode(b"\xff"))}
    folder, stdout = make_folder(tmp_path / "x", files), io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    for more in ([], ["--json"]):
        arguments = ["predict", "--model", str(exported.float_file), str(folder), *more]
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(sys, "stdout", stdout)
            main(arguments)
        assert ended.value.code == 0
    stdout.flush()
    lines = stdout.buffer.getvalue().decode(encoding).splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 2 * len(files)
    assert "\\u72ac.png" in "".join(lines)
    assert {Path(json.loads(line)["file"]).name for line in lines[len(files) :]} == set(files)


def test_16_bit_images_are_seen_in_the_range_of_training(exported: Exported, tmp_path: Path) -> None:
    path, contract = tmp_path / "a.onnx", OnnxClassifier(exported.float_file).contract
    write(path, onnx.load(exported.float_file), replace(contract, white=4095))
    dark = pixels(5, STORED, STORED)
    (tmp_path / "twelve.png").write_bytes(encoded((dark * 4095.0 / 255 + 1).astype(np.uint16)))
    (tmp_path / "eight.png").write_bytes(encoded(dark))
    twelve, eight = predict(OnnxClassifier(path), [tmp_path / "twelve.png", tmp_path / "eight.png"], 3)
    given = [{entry["class"]: entry["probability"] for entry in row["classes"]} for row in (twelve, eight)]
    assert given[0] == pytest.approx(given[1], abs=0.02)
