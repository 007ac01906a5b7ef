"""A float file gives the logits of its model from raw pixels, in bytes of the model alone; parity measures it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from deepcompress import files
from deepcompress.data.batches import View
from deepcompress.deploy import onnx as onnx_files
from deepcompress.deploy.classifier import BATCH, Contract, OnnxClassifier
from deepcompress.deploy.onnx import Parity, channels_first, compare, export_float, require_parity, write
from deepcompress.errors import UserError
from deepcompress.models import checkpoint
from deepcompress.models.build import build
from deepcompress.models.spec import GraphSpec
from tests import nets
from tests.data.inputs import CLASSES
from tests.deploy.conftest import STORED, VIEW, Exported, network
from tests.house import ROOT
from tests.processes import printed


def test_the_file_gives_the_logits_of_the_model_and_normalises_in_the_graph(exported: Exported) -> None:
    pixels = channels_first(exported.images.images, VIEW.size)
    assert len(pixels) > BATCH
    logits = OnnxClassifier(exported.float_file).run(pixels)
    np.testing.assert_allclose(logits, exported.logits.numpy(), rtol=1e-4, atol=1e-4)
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (VIEW.mean, VIEW.std))
    with torch.no_grad():
        expected = exported.model((torch.from_numpy(pixels[:3]) / 255 - mean) / std)
    np.testing.assert_allclose(logits[:3], expected, rtol=1e-4, atol=1e-4)


def test_the_file_says_what_it_takes_and_gives(exported: Exported) -> None:
    proto = onnx.load(exported.float_file)
    (given,) = proto.graph.input
    shape = [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim]
    assert (given.name, given.type.tensor_type.elem_type, shape[1:]) == ("images", onnx.TensorProto.UINT8, [3, 32, 32])
    assert isinstance(shape[0], str)
    assert [output.name for output in proto.graph.output] == ["logits", "probabilities"]
    assert OnnxClassifier(exported.float_file).contract == Contract(CLASSES, 32, STORED)
    onnx.checker.check_model(proto, full_check=True)


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    model = network().train()
    before = nets.state(model)
    export_float(model, tmp_path / "a.onnx", view=VIEW, classes=CLASSES)
    assert model.training
    assert nets.same(before, model.state_dict())


def test_the_same_model_gives_the_same_bytes_in_another_process(exported: Exported, tmp_path: Path) -> None:
    path = tmp_path / "again.onnx"
    code = (
        "from pathlib import Path; from deepcompress.deploy.onnx import export_float;"
        "from tests.deploy.conftest import CLASSES, STORED, VIEW, network;"
        f"export_float(network(), Path({str(path)!r}), view=VIEW, classes=CLASSES, stored_size=STORED)"
    )
    printed(code)
    assert files.sha256(path) == files.sha256(exported.float_file)


def test_an_equal_file_is_exported_once_and_the_code_of_equal_networks_followed_once(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, path, apart = [project / f"{number}.safetensors" for number in (1, 2)], project / "m.onnx", []
    for number, source in enumerate(sources):
        view = View(VIEW.size, VIEW.mean, (0.1 + number,) * 3)
        checkpoint.save(source, network(number), view=view, classes=CLASSES, provenance={})
        export_float(network(number), path, view=view, classes=CLASSES)
        apart.append(path.read_bytes())
    (first, second), (one, other) = map(checkpoint.load, sources), apart
    onnx_files.export_checkpoint(sources[0], first, path)
    assert path.read_bytes() == one != other
    monkeypatch.setattr(torch.onnx, "export", None)  # to follow code again would need it
    onnx_files.export_checkpoint(sources[1], second, path)
    assert path.read_bytes() == other
    monkeypatch.setattr(torch.onnx, "ONNXProgram", None)  # so would it need this to fill a graph again
    onnx_files.export_checkpoint(sources[0], first, path)
    assert path.read_bytes() == one
    with pytest.raises(TypeError):
        onnx_files.export_checkpoint(sources[0], first, path, stored_size=48)
    monkeypatch.setattr(onnx_files, "version", lambda package: "another" if package == "onnxscript" else "")
    with pytest.raises(TypeError):
        onnx_files.export_checkpoint(sources[0], first, path)


def test_a_graph_is_that_of_an_own_networks_code_as_it_is_now(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, path = project / "m.safetensors", project / "m.onnx"
    model = build(GraphSpec("tests.odd_nets:Normed", len(CLASSES), VIEW.size))
    checkpoint.save(source, model, view=VIEW, classes=CLASSES, provenance={})
    loaded = checkpoint.load(source)
    onnx_files.export_checkpoint(source, loaded, path)
    monkeypatch.setattr(torch.onnx, "export", None)  # to follow code again would need it
    onnx_files.export_checkpoint(source, loaded, path)
    monkeypatch.setattr("deepcompress.models.build.sources", lambda arch: [Path(__file__)])
    with pytest.raises(TypeError):
        onnx_files.export_checkpoint(source, loaded, path)


def test_the_bytes_tell_nothing_of_the_machine(exported: Exported) -> None:
    for file in (exported.float_file, exported.int8_file):
        content = file.read_bytes()
        assert not any(text in content for text in (str(ROOT).encode(), b"stack_trace", b"pytorch"))


def test_a_file_of_two_gibibytes_is_refused_and_not_written(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_files, "MAX_BYTES", 1000)
    with pytest.raises(UserError, match=r"a.onnx: .* GiB, but one ONNX file holds less than 2"):
        write(tmp_path / "a.onnx", onnx.load(exported.float_file), Contract(CLASSES, 32, 32))
    assert not list(tmp_path.iterdir())


LIMIT = "deploy.integer_agreement_pct"


def test_numbers_are_those_of_the_logits(exported: Exported) -> None:
    assert len(exported.logits.argmax(1).unique()) > 1
    other = exported.logits.clone()
    other[:20] = -other[:20]
    parity = compare(OnnxClassifier(exported.float_file), other, exported.images)
    assert (parity.n, parity.agreement_pct) == (80, 75.0)  # the highest logit of an image is not its lowest
    assert parity.largest_difference == pytest.approx(2 * exported.logits[:20].abs().max().item(), rel=1e-4)
    labels = torch.from_numpy(exported.images.labels)
    assert parity.top1_pct == pytest.approx(100 * (exported.logits.argmax(1) == labels).double().mean().item())
    assert parity.model_top1_pct == pytest.approx(100 * (other.argmax(1) == labels).double().mean().item())


@pytest.mark.parametrize(
    ("parity", "least", "message"),
    [
        (Parity(1000, 96.9, 0.8, 90.0, 91.0), 98.0,
         r"^a\.onnx agrees with the checkpoint on 96\.90 % of 1000 held-out images \(at least 98 % required, "
         r"params\.yaml: deploy\.integer_agreement_pct; largest difference of a logit 0\.8\)$"),
        (Parity(64, 100 * 60 / 64, 0.1, 30.0, 30.0), 98.0, r"93\.75 % of 64"),  # Wilson's interval reaches 97.5 %
        (Parity(10, 100.0, float("nan"), 0.0, 0.0), 0.0, "largest difference of a logit nan"),
    ],
)  # fmt: skip
def test_a_file_that_is_shown_to_disagree_or_gives_no_numbers_is_refused(
    parity: Parity, least: float, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        require_parity(parity, (LIMIT, least), name="a.onnx")


def test_exactly_the_limit_is_enough_and_few_images_that_cannot_tell_give_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    require_parity(Parity(1000, 96.9, 0.8, 90.0, 91.0), (LIMIT, 96.9), name="a.onnx")
    assert not caplog.text
    require_parity(Parity(64, 100 * 61 / 64, 0.1, 30.0, 30.0), (LIMIT, 98.0), name="a.onnx")
    assert "too few images to tell (95 % interval up to 98.39 %)" in caplog.text
