"""Networks of torchvision: built, started from weights in torchvision's layout, and their blocks."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models as theirs

from deepcompress.errors import UserError
from deepcompress.models.build import build, roles, trace
from deepcompress.models.spec import TORCHVISION, TORCHVISION_NAMES, GraphSpec, VGGSpec, layer_name, side
from deepcompress.models.weights import load_pretrained_
from tests.nets import SIDE, network, same


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


def test_widths_of_layers_that_are_not_there_are_refused() -> None:
    spec = GraphSpec("resnet18", 4, SIDE, (("layer9.conv", (3, 3, 1)),))
    with pytest.raises(UserError, match=r"a layer 'layer9.conv' with 3 sizes, which resnet18 does not have"):
        build(spec)


def test_a_network_that_finds_its_sizes_by_an_image_is_built_with_them() -> None:
    spec = GraphSpec("tests.odd_nets:lazy", 4, SIDE)
    assert trace(spec).order == ("0", "5")
    model, again = (network(spec.arch) for _ in range(2))
    assert model[5].weight.shape == (4, 32)
    assert same(model.state_dict(), again.state_dict())
    assert build(spec).training


def stemmed(classes: int) -> nn.Module:
    stem = nn.Sequential(nn.Conv2d(3, 8, 3))
    return nn.Sequential(stem, nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * (SIDE - 2) ** 2, classes))


def test_what_takes_a_batch_norm_is_a_convolution_not_what_holds_it() -> None:
    assert trace(GraphSpec(f"{__name__}:stemmed", 4, SIDE)).norms == {"0.0": "1"}


@torch.no_grad()
def test_a_network_that_flattens_by_view_runs_in_the_memory_that_training_keeps() -> None:
    model, images = network("tests.odd_nets:Viewed"), torch.rand(2, 3, SIDE, SIDE)
    assert trace(model.spec).norms == {"first": "norm"}  # whose input is given by name
    expected = model(images)
    found = model.to(memory_format=torch.channels_last)(images.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(found, expected, atol=1e-5)
    assert not trace(GraphSpec("resnet18", 4, SIDE)).views


@pytest.mark.parametrize(
    ("function", "named"),
    [
        ("ViewedAgain", r"does not run on an image of 32 px: view size is not compatible"),
        ("Stateful", "its state holds _extra_state, which is no tensor; leave it out"),
        ("masked", "mask holds NaN or infinity; a buffer may be one with persistent=False"),
        ("specified", "its attribute spec needs another name"),
        ("normalised", "the weight of layer 1 is made of other tensors, as by weight_norm"),
        ("Helped", r"must give 4 logits per image in training, too, \(2, 4\); got tuple"),
        ("Short", r"layers.1.weight must be float32, got torch.bfloat16"),
    ],
)
def test_what_no_file_holds_and_no_step_changes_is_refused_at_once(function: str, named: str) -> None:
    with pytest.raises(UserError, match=named):
        trace(GraphSpec(f"tests.odd_nets:{function}", 4, SIDE))


def test_torchvisions_weights_are_taken_but_for_the_head_also_by_the_old_names_of_densenets(tmp_path: Path) -> None:
    model, given = network("densenet121"), theirs.densenet121(num_classes=9).state_dict()
    head = model.get_parameter("classifier.weight").clone()
    torch.save({name.replace(".norm1.", ".norm.1."): tensor + 1 for name, tensor in given.items()}, tmp_path / "w.pth")
    load_pretrained_(model, tmp_path / "w.pth")
    for name in ("features.conv0.weight", "features.denseblock1.denselayer1.norm1.weight"):
        assert torch.equal(model.get_parameter(name), given[name] + 1)
    assert torch.equal(model.get_parameter("classifier.weight"), head)


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
