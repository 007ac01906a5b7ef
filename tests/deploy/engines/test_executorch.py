"""A .pte file agrees with its checkpoint; without ExecuTorch one line says how to install it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from deepcompress.__main__ import main
from deepcompress.data import store
from deepcompress.deploy.classifier import Contract
from deepcompress.deploy.engines.executorch import PteClassifier, export_pte
from deepcompress.deploy.onnx import channels_first, compare
from deepcompress.errors import UserError
from tests.data.inputs import CLASSES, source
from tests.deploy.conftest import STORED, VIEW, Exported, coloured, network, save
from tests.deploy.test_classifier import refused
from tests.house import ROOT

CONTRACT = Contract(CLASSES, VIEW.size, STORED)
# ExecuTorch and torchao call what Python, torch and each other are about to drop.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def pte(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network that `exported` holds, in float32."""
    pytest.importorskip("executorch")
    path = tmp_path_factory.mktemp("pte") / "float.pte"
    export_pte(network(), path, view=VIEW, contract=CONTRACT)
    return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, its images and params.yaml, as the current one."""
    store.write_fit(tmp_path / "fit", source(train=40, size=STORED), validation_fraction=0.5, seed=0)
    save(tmp_path / "net.safetensors", network())
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    return tmp_path


COMMAND = ("executorch", "--model", "net.safetensors", "--fit", "fit", "--out", "net.pte")


def test_without_executorch_one_line_says_how_to_install_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "executorch", None)
    refused(CliRunner().invoke(main, COMMAND), "ExecuTorch is not installed; `uv sync --group executorch` adds it")
    Path("other.pte").touch()
    Image.new("RGB", (9, 9)).save("one.png")
    refused(CliRunner().invoke(main, ["predict", "one.png", "--model", "other.pte"]), "ExecuTorch is not installed")
    assert not Path("net.pte").exists()


def test_the_float_file_agrees_with_the_model_and_says_what_it_is(
    pte: Path, exported: Exported, tmp_path: Path
) -> None:
    classifier = PteClassifier(pte)
    parity = compare(classifier, exported.logits, exported.images)
    assert (parity.n, parity.agreement_pct) == (80, 100.0)
    assert parity.largest_difference < 1e-3
    assert classifier.contract == CONTRACT
    pixels = channels_first(exported.images.images[:5], VIEW.size)
    np.testing.assert_allclose(classifier.run(pixels, "probabilities"), exported.logits[:5].softmax(1), atol=1e-4)
    export_pte(network(), tmp_path / "again.pte", view=VIEW, contract=CONTRACT)
    assert (tmp_path / "again.pte").read_bytes() == pte.read_bytes()


def test_the_int8_file_nearly_agrees_in_a_fraction_of_the_bytes(pte: Path, exported: Exported, tmp_path: Path) -> None:
    calibration = channels_first(coloured(8, 16, STORED), VIEW.size)
    export_pte(network(), tmp_path / "int8.pte", view=VIEW, contract=CONTRACT, calibration=calibration)
    pixels = channels_first(exported.images.images, VIEW.size)
    logits = torch.from_numpy(PteClassifier(tmp_path / "int8.pte").run(pixels))
    assert 0 < (logits - exported.logits).abs().mean() < 0.1 * exported.logits.std()
    assert (tmp_path / "int8.pte").stat().st_size < 0.45 * pte.stat().st_size


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "missing"])
def test_a_damaged_file_is_refused(damage: str, pte: Path, tmp_path: Path) -> None:
    content, path = pte.read_bytes(), tmp_path / "damaged.pte"
    if damage != "missing":
        path.write_bytes({"cut": content[: len(content) // 2], "text": b"hello " * 99, "empty": b""}[damage])
    with pytest.raises(UserError, match=r"damaged\.pte: no "):
        PteClassifier(path)


def test_predict_takes_a_pte_file(pte: Path, tmp_path: Path) -> None:
    Image.fromarray(coloured(3, 1, STORED)[0]).save(tmp_path / "one.png")
    done = CliRunner().invoke(main, ["predict", "--json", "--model", str(pte), str(tmp_path / "one.png")])
    assert done.exit_code == 0, done.output
    row = json.loads(done.stdout)
    expected = PteClassifier(pte).run(channels_first(coloured(3, 1, STORED), VIEW.size))[0]
    assert row["classes"][0]["class"] == CLASSES[expected.argmax()]


def test_the_command_writes_a_file_that_it_compared_on_validation_images(place: Path) -> None:
    pytest.importorskip("executorch")
    done = CliRunner().invoke(main, COMMAND)
    assert done.exit_code == 0, done.output
    count = len(store.open_fit(Path("fit")).validation)
    assert f"agrees with net.safetensors on 100.00 % of {count} validation images" in done.stdout
    assert PteClassifier("net.pte").contract == CONTRACT


def test_a_file_that_disagrees_too_often_is_not_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("executorch")
    run = PteClassifier.run
    monkeypatch.setattr(PteClassifier, "run", lambda *arguments: -run(*arguments))
    Path("net.pte").write_bytes(b"the one before")
    refused(CliRunner().invoke(main, [*COMMAND, "--int8"]), "net.pte agrees with the checkpoint on ")
    assert Path("net.pte").read_bytes() == b"the one before"
