"""VGG: equal to torchvision's, channel-major where it is flattened, reproducible, never replicating a map."""

import dataclasses
import math

import pytest
import torch
from torch import nn
from torchvision.models import vgg as theirs

from deepcompress.errors import UserError
from deepcompress.models.build import blank
from deepcompress.models.spec import BLOCKS, FEATURES, Model, VGGSpec, asked, vgg_maps, vgg_roles
from deepcompress.models.vgg import VGG, SmallMapConv2d, outputs_of, prunable_layers, tap
from tests import nets
from tests.models.conftest import TINY

LETTERS = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("arch", BLOCKS)
def test_names_and_shapes_are_torchvisions(arch: str, batch_norm: bool) -> None:
    model = Model(arch=arch, batch_norm=batch_norm, width=1, hidden=4096, dropout=0.5, image_size=224)
    with torch.device("meta"):
        ours = VGG(asked(model, classes=1000))
        official = getattr(theirs, arch + ("_bn" if batch_norm else ""))(weights=None, init_weights=False)
    shapes = {name: tensor.shape for name, tensor in ours.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in official.state_dict().items()}
    assert list(shapes) == list(official.state_dict())


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("arch", BLOCKS)
def test_logits_are_torchvisions_with_equal_weights(arch: str, batch_norm: bool) -> None:
    widths = iter(range(3, 30))
    letters = [entry if entry == "M" else next(widths) for entry in theirs.cfgs[LETTERS[arch]]]
    features = tuple(width for width in letters if width != "M")
    spec = VGGSpec(arch, batch_norm, features, (8, 8), 5, image_size=64, dropout=0.5)
    torch.manual_seed(0)
    ours = VGG(spec).eval()
    with torch.device("meta"):  # its full-size linear layers are replaced at once
        official = theirs.VGG(torch.nn.Sequential(), init_weights=False)
    official.features = theirs.make_layers(letters, batch_norm)
    official.avgpool = torch.nn.AdaptiveAvgPool2d((2, 2))
    official.classifier[0] = torch.nn.Linear(features[-1] * 4, 8)
    official.classifier[3] = torch.nn.Linear(8, 8)
    official.classifier[6] = torch.nn.Linear(8, 5)
    official.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 64, 64)
    for memory_format in (torch.channels_last, torch.contiguous_format):
        there = images.to(memory_format=memory_format)
        assert torch.equal(ours(there), official.eval()(there))
    assert [type(layer) for layer in ours.classifier] == [type(layer) for layer in official.classifier]
    assert ours.classifier[2].p == ours.classifier[5].p == 0.5


def test_initial_weights_have_the_stated_spread() -> None:
    model = VGG(dataclasses.replace(TINY, features=(32, 96, *(32,) * 6), hidden=(256, 128), classes=100))
    spread = {name: layer.weight.std().item() for name, layer in prunable_layers(model).items()}
    assert spread["features.0"] == pytest.approx(math.sqrt(2 / (32 * 9)), rel=0.1)  # fan out
    assert model.features[4].weight[32:].std().item() == pytest.approx(math.sqrt(2 / (96 * 9)), rel=0.1)
    assert spread["classifier.0"] == pytest.approx(math.sqrt(2 / 32), rel=0.1)  # fan in
    assert spread["classifier.3"] == pytest.approx(math.sqrt(2 / 256), rel=0.1)
    assert spread["classifier.6"] == pytest.approx(0.01, rel=0.1)
    assert all(not layer.bias.any() for layer in prunable_layers(model).values())
    assert model.features[1].weight.eq(1).all()
    assert not model.features[1].bias.any()


@pytest.mark.parametrize(("inputs", "filters"), [(3, 5), (4, 4), (5, 3)])
def test_first_filters_copy_what_they_see(inputs: int, filters: int) -> None:
    layer = VGG(dataclasses.replace(TINY, features=(inputs, filters, *TINY.features[2:]))).features[4]
    maps = torch.randn(2, inputs, 8, 8)
    copied = min(inputs, filters)
    torch.testing.assert_close(layer(maps)[:, :copied], maps[:, :copied], rtol=0, atol=0.5)
    assert layer.weight.all()  # a zero is what pruning leaves


def test_a_network_to_load_weights_into_draws_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepcompress.models.vgg._initialise_", lambda _: pytest.fail("loads torch's compiler"))
    assert all(parameter.is_meta for parameter in blank(TINY).parameters())


def test_a_larger_image_is_pooled_a_smaller_one_refused_and_one_of_the_right_size_left() -> None:
    model = VGG(dataclasses.replace(TINY, image_size=64)).eval()
    assert model(torch.zeros(1, 3, 96, 96)).shape == (1, 3)
    with pytest.raises(ValueError, match="64 px or more, got 32"):
        model(torch.zeros(1, 3, 32, 32))
    model.avgpool.register_forward_hook(lambda *_: pytest.fail("its backward pass is not deterministic on CUDA"))
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


def test_wide_layers_on_small_maps_have_their_own_convolution_with_equal_results() -> None:
    spec = VGGSpec("vgg11", True, (224, 224, 8, 224, 224, 224, 224, 8), (8, 8), 3, 32, 0.5)
    torch.manual_seed(0)
    model = VGG(spec).eval().to(memory_format=torch.channels_last)
    small = [name for name, layer in model.named_modules() if isinstance(layer, SmallMapConv2d)]
    assert small == ["features.15", "features.18", "features.22"]
    layer, plain = model.features[22], nn.Conv2d(224, 224, 3, padding=1)
    plain.load_state_dict(layer.state_dict())
    maps = torch.randn(4, 224, 2, 2).to(memory_format=torch.channels_last)
    torch.testing.assert_close(layer(maps), plain(maps), rtol=1e-5, atol=1e-6)
    wide = VGG(dataclasses.replace(spec, image_size=224))
    assert not any(isinstance(layer, SmallMapConv2d) for layer in wide.modules())


def passed(features: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """What layers give, and the gradients of their input and weights."""
    inputs = images.clone().requires_grad_()
    features.zero_grad()
    maps = features(inputs)
    maps.square().sum().backward()
    return [maps.detach(), inputs.grad, *(weight.grad.clone() for weight in features.parameters())]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_pooling_before_the_relu_changes_no_bit(batch_norm: bool, memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    spec = VGGSpec("vgg11", batch_norm, (4, 5, 6, 6, 7, 7, 8, 8), (8, 8), 3, image_size=32, dropout=0.0)
    features = VGG(spec).train().features.to(memory_format=memory_format)
    images = torch.randn(4, 3, 32, 32)
    images[:, :, ::2] = 0  # equal neighbours, so that pooling has to choose between equals
    in_turn = nn.Sequential(*features)
    for ours, plain in zip(passed(features, images), passed(in_turn, images), strict=True):
        assert torch.equal(ours, plain)


def test_a_hook_sees_a_relu_and_a_pooling_in_their_order(tiny: VGG) -> None:
    images, side = torch.randn(2, 3, 32, 32), tiny.spec.image_size
    for at, pool in enumerate(tiny.eval().features):
        if not isinstance(pool, nn.MaxPool2d):
            continue
        for layer, after in ((tiny.features[at - 1], side), (pool, side // 2)):
            sides = []
            handle = layer.register_forward_hook(
                lambda layer, inputs, output, sides=sides: sides.append((inputs[0].shape[-1], output.shape[-1]))
            )
            expected = tiny(images)
            handle.remove()
            assert sides == [(side, after)]
            assert torch.equal(tiny(images), expected)
        side //= 2


def test_an_exported_graph_has_each_relu_behind_its_convolution(tiny: VGG) -> None:
    exported = torch.export.export(tiny.eval(), (torch.randn(2, 3, 32, 32),))
    called = [str(node.target).split(".")[1] for node in exported.graph.nodes if node.op == "call_function"]
    before = {called[at - 1] for at, name in enumerate(called) if name.startswith("max_pool2d")}
    assert before == {"relu"}


# What layers give, and the names of their parts.

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_a_tap_gives_the_last_outputs_of_its_layers_with_gradients_and_changes_none(tiny: VGG) -> None:
    alone = tiny.eval()(IMAGES)
    with tap(tiny, ["features.0", "features", "classifier.6"]) as outputs:
        assert outputs == {}
        tiny(torch.zeros_like(IMAGES))
        assert torch.equal(tiny(IMAGES), alone)
    assert set(outputs) == {"features.0", "features", "classifier.6"}
    assert torch.equal(outputs["features.0"], tiny.features[0](IMAGES))  # the ReLU behind it changed nothing
    assert torch.equal(outputs["features"], tiny.features(IMAGES))
    assert torch.equal(outputs["classifier.6"], alone)
    outputs["features.0"].sum().backward()
    assert tiny.features[0].weight.grad is not None


def test_what_lies_behind_the_last_layer_does_not_run(tiny: VGG) -> None:
    ran = []
    for name in ("features", "classifier.0", "classifier.3"):
        tiny.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
    with tap(tiny.eval(), ["features.0", "classifier.0"]) as expected:
        tiny(IMAGES)
    ran.clear()
    outputs = outputs_of(tiny, ["classifier.0", "features.0"], IMAGES)
    assert ran == ["features", "classifier.0"]
    assert all(torch.equal(outputs[name], expected[name]) for name in ("features.0", "classifier.0"))
    assert not tiny.features[0]._forward_hooks  # also after what ended the pass


@pytest.mark.parametrize("name", ["features.99", "", "Features.0"])
def test_an_unknown_layer_is_named_with_those_there_are(tiny: VGG, name: str) -> None:
    line = f"layer '{name}' does not exist; there are features.0, "
    with pytest.raises(UserError, match=line), tap(tiny, ["features.0", name]):
        pass
    assert not any(module._forward_hooks for module in tiny.modules())


@pytest.mark.parametrize("arch", BLOCKS)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_role_is_a_layer_of_its_kind_that_gives_maps_of_the_stated_shape(arch: str, batch_norm: bool) -> None:
    spec = nets.spec(arch, batch_norm=batch_norm, image_size=40)
    model, kinds = VGG(spec), {"conv": nn.Conv2d, "norm": nn.BatchNorm2d, "relu": nn.ReLU, "pool": nn.MaxPool2d}
    found, stated = vgg_roles(spec), vgg_maps(spec)
    for role, name in found.items():
        kind = role.partition(".")[2][:4] or "relu"
        assert isinstance(model.get_submodule(name), kinds[kind]), role
    assert len(set(found.values())) == len(model.features)
    with torch.no_grad():
        given = outputs_of(model.eval(), list(stated), torch.zeros(1, 3, 40, 40))
    assert {name: tuple(maps.shape[1:]) for name, maps in given.items()} == stated
    assert stated.keys() == {*found.values(), FEATURES}
