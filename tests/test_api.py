"""api.py where it does not do what docs/api.md shows: mistakes, changed networks, params.yaml of the folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import deepcompress as dc
from deepcompress import api
from deepcompress.errors import UserError
from deepcompress.models import checkpoint
from tests import nets
from tests.house import ROOT


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> api.Model:
    """A tiny VGG, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    checkpoint.save("model.safetensors", nets.vgg(), view=nets.VIEW, classes=nets.CLASSES, provenance={})
    return dc.load("model.safetensors")


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="prunee"):
        dc.prunee  # noqa: B018


def test_a_network_that_was_changed_by_hand_is_saved_as_it_is(model: api.Model) -> None:
    model.save("same.safetensors")
    assert Path("same.safetensors").read_bytes() == Path("model.safetensors").read_bytes()
    with torch.no_grad():
        next(model.model.parameters()).add_(1)
    model.save("changed.safetensors")
    found = dc.load("changed.safetensors").model.state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in model.model.state_dict().items())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: dc.load("none.safetensors"), "none.safetensors: no such file"),
        (lambda m: dc.images("nowhere"), "nowhere: no such file or folder"),
        (lambda m: dc.prune(m, "nowhere", sparsity=2.0), "prune.sparsity must be less than 1, got 2.0"),
        (lambda m: dc.prune(m, "nowhere", sparsty=0.5), "did you mean sparsity"),
        (lambda m: dc.quantize(m, "nowhere", bits=np.int64(9)), "quant.bits must be one of 2..8 or 16, got 9"),
        (lambda m: dc.distill(m, m, "nowhere", method="magic"), "distill.methods has no 'magic'; it has logit"),
        (lambda m: dc.distill(m, m, "nowhere", method="logit", network_settings={"width": 1.0}), "a fresh network"),
        (lambda m: dc.export(m, "model.pt"), "writes .onnx"),
        (lambda m: dc.export(m, "model.onnx", bits=8), "bits=8 needs images"),
        (lambda m: dc.export(m, "model.onnx", bits=4), "bits=4 needs a model with integers"),
        (lambda m: dc.accuracy(m, "nowhere", part="test"), "part must be validation or heldout"),
        (lambda m: dc.accuracy(m.model, "nowhere"), "a model must be one that load or train gave, or its file's path"),
    ],
)
def test_a_mistake_is_one_line(model: api.Model, call: Callable[[api.Model], object], said: str) -> None:
    with pytest.raises(UserError) as raised:
        call(model)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_params_of_the_folder_come_before_the_repositorys(model: api.Model) -> None:
    document = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    document["quant"]["bits"] = 99
    Path("params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(UserError, match=r"^params.yaml: quant.bits .* got 99"):
        dc.quantize(model, "nowhere")
