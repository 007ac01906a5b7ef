"""Spoilt ONNX files, tables, notes and scratch files: one line or work done anew, never a traceback."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from deepcompress.data import store
from deepcompress.deploy import export
from deepcompress.deploy.classifier import Contract, OnnxClassifier, predict
from deepcompress.deploy.onnx import strip_
from deepcompress.files import read_json, read_rows
from deepcompress.plan_table import Plan
from deepcompress.report import page, tables
from deepcompress.training import loop
from tests.data.inputs import encoded, pixels, source
from tests.faults.damage import fuzz, read_or_refused, spoilt
from tests.report import made_up

SIDE = 4
ODD_CELLS = ("", "nan", "inf", "-inf", "-1", "0", "1e400", "9" * 400, "x", "baseline", "'", '"', ",", "\0", "é",
             "True",
             "=1+1", "<script>alert(1)</script>", "2020-01-01")  # fmt: skip
ODD_VALUES = (None, True, -1, 0, 10**400, 1.5, "", "x", [], {}, [1], {"a": 1}, [[]], ["baseline"], {"baseline": {}})


def classifier() -> bytes:
    weight = numpy_helper.from_array(pixels(0, 3 * SIDE * SIDE, 2).astype(np.float32), "w")
    nodes = [
        helper.make_node("Cast", ["images"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["f"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 3, SIDE, SIDE])
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in ("logits", "probabilities")]
    graph = helper.make_graph(nodes, "g", [images], made, [weight])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(proto, Contract(("a", "b"), SIDE, SIDE).to_metadata())
    strip_(proto)
    return bytes(proto.SerializeToString(deterministic=True))


MODEL, PICTURE = classifier(), encoded(pixels(1, 9, 9, 3))


def answer(place: Path, content: bytes) -> str | None:
    model, picture = place / "model.onnx", place / "picture.png"
    model.write_bytes(content)
    picture.write_bytes(PICTURE)
    said = read_or_refused(lambda: list(predict(OnnxClassifier(model, 1), [picture], 2)), naming="model.onnx")
    assert {path.name for path in place.iterdir()} == {"model.onnx", "picture.png"}
    return said


@fuzz(100)
@given(content=spoilt(MODEL))
def test_spoilt_onnx_files(tmp_path: Path, content: bytes) -> None:
    assert answer(tmp_path, MODEL) is None
    answer(tmp_path, content)


def test_weights_outside_of_the_onnx_file_are_not_read(tmp_path: Path) -> None:
    proto = onnx.load_from_string(MODEL)
    weight = proto.graph.initializer[0]
    outside = tmp_path / "outside"
    outside.write_bytes(weight.raw_data)
    onnx.external_data_helper.set_external_data(weight, location="../outside")
    weight.ClearField("raw_data")
    (tmp_path / "in").mkdir()
    assert answer(tmp_path / "in", proto.SerializeToString())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[tables.Paths, dict[Path, str]]:
    paths = made_up.write(tmp_path_factory.mktemp("tables"))
    folder = paths.evaluation.parent
    return paths, {path: path.read_text() for path in sorted(folder.rglob("*")) if path.suffix in {".csv", ".json"}}


@fuzz(6)
@given(data=st.data())
def test_spoilt_tables_and_odd_cells(made: tuple[tables.Paths, dict[Path, str]], data: st.DataObject) -> None:
    paths, whole = made

    def report_says(path: Path, content: bytes) -> None:
        """What the stage report says of a table's content, its drawing of the page left out."""
        path.write_bytes(content)
        read_or_refused(lambda: page.sections(tables.read(paths)))
        path.write_text(whole[path])

    path = data.draw(st.sampled_from(sorted(whole)))
    report_says(path, data.draw(spoilt(whole[path].encode())))
    path = data.draw(st.sampled_from([path for path in sorted(whole) if path.suffix == ".csv"]))
    rows = [line.split(",") for line in whole[path].splitlines()]
    row = data.draw(st.integers(0, len(rows) - 1))
    rows[row][data.draw(st.integers(0, len(rows[row]) - 1))] = data.draw(st.sampled_from(ODD_CELLS))
    report_says(path, "\n".join(map(",".join, rows)).encode())


@fuzz(60)
@given(content=spoilt(b"layer,sparsity,top1_pct\nfeatures.0,0.5,80.1\nfeatures.4,0.5,79.0\n"))
def test_spoilt_rows(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    read_or_refused(lambda: read_rows(tmp_path / "x.csv"), naming="x.csv")


@pytest.mark.parametrize("value", ODD_VALUES, ids=range(len(ODD_VALUES)))
def test_notes_with_odd_values(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "x.json"
    for content in (value, {"model": value, "reason": "x"}):
        path.write_text(json.dumps(content))
        read_or_refused(lambda: Plan.read(path), naming="x.json")
        read_or_refused(lambda: export.read_recommendation(path), naming="x.json")


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, '"\\ud800"', "\ufeff{}", "NaN", "{}{}"], ids=range(6))
def test_odd_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    read_or_refused(lambda: read_json(tmp_path / "x.json"), naming="x.json")


@fuzz(60)
@given(data=st.data())
def test_spoilt_image_arrays(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "fit"
    if not folder.exists():
        store.write_fit(folder, source(), validation_fraction=0.25, seed=0)
    path = folder / data.draw(st.sampled_from(("train_images.npy", "train_labels.npy", "meta.json")))
    good = path.read_bytes()
    path.write_bytes(data.draw(spoilt(good, within=130)))
    try:
        read_or_refused(lambda: store.open_fit(folder), naming=path.name.partition("_")[0])
    finally:
        path.write_bytes(good)


@fuzz(60)
@given(data=st.data())
def test_spoilt_resume_files_count_as_none(tmp_path: Path, data: st.DataObject) -> None:
    loop.save_state(tmp_path, {"weights": {"a": torch.zeros(9)}, "history": []})
    path = tmp_path / loop.STATE_FILE
    good = path.read_bytes()
    content = data.draw(spoilt(good))
    path.write_bytes(content)
    logging.disable()
    try:
        assert content == good or loop.load_state(tmp_path) is None
    finally:
        logging.disable(logging.NOTSET)
