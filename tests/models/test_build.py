"""Networks of torchvision: built, saved, loaded and started from weights in torchvision's layout."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torchvision import models as theirs

from deepcompress.errors import UserError
from deepcompress.models import checkpoint, weights
from deepcompress.models.build import build, roles, trace
from deepcompress.models.spec import TORCHVISION, TORCHVISION_NAMES, GraphSpec, VGGSpec, layer_name, side
from deepcompress.models.weights import load_pretrained_
from tests.nets import CLASSES, SIDE, VIEW, network

FEW = ("resnet18", "mobilenet_v2")


def saved(path: Path, model) -> Path:
    checkpoint.save(path, model, view=VIEW, classes=CLASSES, provenance={})
    return path


def test_every_name_is_one_of_torchvisions_and_has_imagenet_weights() -> None:
    assert set(TORCHVISION_NAMES) <= set(theirs.list_models(module=theirs))
    assert all(hasattr(theirs.get_model_weights(name), "IMAGENET1K_V1") for name in TORCHVISION_NAMES)


@pytest.mark.parametrize("family", TORCHVISION)
def test_a_network_has_torchvisions_layers_and_answers(family: str) -> None:
    name = TORCHVISION[family][0]
    with torch.device("meta"):
        ours, full = build(GraphSpec(name, 7, SIDE)), theirs.get_model(name, num_classes=7)
    shapes = [{key: value.shape for key, value in model.state_dict().items()} for model in (ours, full)]
    assert shapes[0] == shapes[1]
    assert not any(getattr(module, "inplace", False) for module in ours.modules())


@pytest.mark.parametrize("arch", FEW)
def test_a_saved_network_comes_back_bit_for_bit(arch: str, tmp_path: Path) -> None:
    model, images = network(arch), torch.rand(2, 3, SIDE, SIDE)
    loaded = checkpoint.load(saved(tmp_path / "one.safetensors", model))
    assert loaded.model.spec == model.spec
    assert all(torch.equal(tensor, loaded.model.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(loaded.model(images), model(images))
    saved(tmp_path / "two.safetensors", loaded.model)
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()


def test_widths_of_layers_that_are_not_there_are_refused() -> None:
    spec = GraphSpec("resnet18", 4, SIDE, (("layer9.conv", (3, 3, 1)),))
    with pytest.raises(UserError, match=r"a layer 'layer9.conv' with 3 sizes, which resnet18 does not have"):
        build(spec)


def test_weights_in_torchvisions_layout_are_taken_but_for_the_head(tmp_path, monkeypatch) -> None:
    given = theirs.resnet18(num_classes=9)
    torch.save(given.state_dict(), tmp_path / "w.pth")
    addresses: list[str] = []
    monkeypatch.setattr(weights, "_downloaded", lambda address: addresses.append(address) or tmp_path / "w.pth")
    model = network("resnet18")
    head = model.get_parameter("fc.weight").clone()
    load_pretrained_(model, "imagenet")
    assert torch.equal(model.get_parameter("layer4.1.conv2.weight"), given.layer4[1].conv2.weight)
    assert torch.equal(model.get_parameter("fc.weight"), head)
    assert addresses == ["https://download.pytorch.org/models/resnet18-f37072fd.pth"]


def test_the_old_names_in_densenets_files_are_understood(tmp_path: Path) -> None:
    model = network("densenet121")
    state = {name.replace(".norm1.", ".norm.1."): tensor + 1 for name, tensor in model.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in state
    torch.save(state, tmp_path / "w.pth")
    load_pretrained_(model, tmp_path / "w.pth")
    name = "features.denseblock1.denselayer1.norm1.weight"
    assert torch.equal(model.state_dict()[name], state[name.replace("norm1", "norm.1")])


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        ("resnet18", {"block2": "relu", "block3": "layer1", "block4": "layer2", "block6": "layer4"}),
        ("mobilenet_v2", {"block2": "features.1", "block3": "features.3", "block4": "features.6"}),
        ("densenet121", {"block3": "features.transition1.conv", "features": "features"}),
    ],
)
def test_blocks_are_those_of_a_vgg_by_the_side_of_their_maps(arch: str, expected: dict[str, str]) -> None:
    spec = GraphSpec(arch, 4, SIDE)
    found = roles(spec)
    assert {role: found[role] for role in expected} == expected
    shapes = trace(spec).outputs
    assert [shapes[found[f"block{n}"]][-1] for n in (2, 3, 4, 5)] == [side(SIDE, n) for n in (2, 3, 4, 5)]


def test_a_layer_is_named_by_role_or_by_name_and_an_unknown_one_is_refused() -> None:
    spec = GraphSpec("resnet18", 4, SIDE)
    assert layer_name(dataclasses.replace(spec, widths=(("bn1", (9,)),)), "block4") == "layer2"
    assert layer_name(spec, "layer2.0") == "layer2.0"
    assert layer_name(spec, "features") == "layer4"
    with pytest.raises(UserError, match=r"'block4.relu1' does not exist in a resnet18; there are block2 \(relu\)"):
        layer_name(spec, "block4.relu1")
    vgg = VGGSpec("vgg11", True, (2,) * 8, (3, 3), 4, SIDE, 0.0)
    assert layer_name(vgg, "features") == "features"
