"""A float file answers as its model from raw pixels, for any number of images, and its bytes are the model's alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from deepcompress import files
from deepcompress.deploy import graph, onnx_file
from deepcompress.deploy.contract import PROBABILITIES, Contract
from deepcompress.deploy.pixels import channels_first
from deepcompress.deploy.session import BATCH, Classifier
from deepcompress.errors import UserError
from tests.data.inputs import CLASSES
from tests.deploy.conftest import STORED, VIEW, Exported, network
from tests.house import ROOT


def test_the_file_answers_as_the_model(exported: Exported) -> None:
    pixels = channels_first(exported.images.images, VIEW.size)
    answers = Classifier(exported.float_file).answers(pixels)
    assert len(pixels) > BATCH
    np.testing.assert_allclose(answers, exported.logits.numpy(), rtol=1e-4, atol=1e-4)


def test_normalisation_is_in_the_graph(exported: Exported) -> None:
    pixels = channels_first(exported.images.images[:3], VIEW.size)
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (VIEW.mean, VIEW.std))
    with torch.no_grad():
        expected = exported.model((torch.from_numpy(pixels) / 255 - mean) / std)
    np.testing.assert_allclose(Classifier(exported.float_file).answers(pixels), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [1, 5])
def test_any_number_of_images_is_answered(count: int, exported: Exported) -> None:
    classifier, pixels = Classifier(exported.float_file), channels_first(exported.images.images, VIEW.size)
    answers = classifier.answers(pixels[:count])
    assert answers.shape == (count, len(CLASSES))
    np.testing.assert_allclose(answers, classifier.answers(pixels)[:count], atol=1e-5)


def test_probabilities_are_the_softmax_of_the_logits(exported: Exported) -> None:
    classifier, pixels = Classifier(exported.float_file), channels_first(exported.images.images, VIEW.size)
    expected = torch.from_numpy(classifier.answers(pixels)).softmax(1)
    np.testing.assert_allclose(classifier.answers(pixels, PROBABILITIES), expected, atol=1e-6)


def test_the_file_says_what_it_takes_and_gives(exported: Exported) -> None:
    proto = onnx.load(exported.float_file)
    (given,) = proto.graph.input
    shape = [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim]
    assert (given.name, given.type.tensor_type.elem_type, shape[1:]) == ("images", onnx.TensorProto.UINT8, [3, 32, 32])
    assert isinstance(shape[0], str)
    assert [output.name for output in proto.graph.output] == ["logits", "probabilities"]
    assert Classifier(exported.float_file).contract == Contract(CLASSES, 32, STORED)
    onnx.checker.check_model(proto, full_check=True)


def test_a_program_that_knows_onnx_runtime_alone_can_use_the_file(exported: Exported) -> None:
    session = onnxruntime.InferenceSession(exported.float_file, providers=["CPUExecutionProvider"])
    pixels = channels_first(exported.images.images, VIEW.size)
    logits, probabilities = session.run(None, {"images": pixels})
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list(CLASSES)
    assert (logits.argmax(1) == exported.logits.argmax(1).numpy()).all()
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    model = network().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    graph.export_float(model, tmp_path / "a.onnx", view=VIEW, classes=CLASSES)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_the_same_model_gives_the_same_bytes_in_another_process(exported: Exported, tmp_path: Path) -> None:
    path = tmp_path / "again.onnx"
    code = (
        "from pathlib import Path; from deepcompress.deploy import graph; from tests.data.inputs import CLASSES;"
        "from tests.deploy.conftest import STORED, VIEW, network;"
        f"graph.export_float(network(), Path({str(path)!r}), view=VIEW, classes=CLASSES, stored_size=STORED)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    assert files.sha256(path) == files.sha256(exported.float_file)


def test_the_bytes_tell_nothing_of_the_machine(exported: Exported) -> None:
    for file in (exported.float_file, exported.int8_file):
        content = file.read_bytes()
        assert str(ROOT).encode() not in content
        assert b"stack_trace" not in content
        assert b"pytorch" not in content


def test_a_file_of_two_gibibytes_is_refused_and_not_written(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "MAX_BYTES", 1000)
    with pytest.raises(UserError, match=r"a.onnx: .* GiB, but one ONNX file holds less than 2"):
        onnx_file.write(tmp_path / "a.onnx", onnx.load(exported.float_file), Contract(CLASSES, 32, 32))
    assert not list(tmp_path.iterdir())
