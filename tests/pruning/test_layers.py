"""What is in scope, which models are dense, and pruning where layers are tied to each other."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch_pruning import _helpers
from torch_pruning.dependency import index_mapping

from deepcompress.errors import UserError
from deepcompress.models import checkpoint
from deepcompress.models.spec import GraphSpec
from deepcompress.models.vgg import Classifier, prunable_layers
from deepcompress.pruning import layers, prune, sensitivity
from deepcompress.pruning.layers import batch_norms, group_scores, in_scope, require_dense, zero_share
from tests import nets
from tests.nets import CLASSES, SIDE, VIEW, same, vgg
from tests.pruning.conftest import FIT, pruned


def test_scope_names_the_layers_that_a_method_may_prune():
    model = vgg()
    convolutions = [name for name in prunable_layers(model) if name.startswith("features")]
    assert list(in_scope(model, "unstructured", "all")) == list(prunable_layers(model))
    assert list(in_scope(model, "structured", "all")) == [*convolutions, "classifier.0", "classifier.3"]
    for method in ("unstructured", "structured"):
        assert list(in_scope(model, method, "conv")) == convolutions


def test_the_batch_norm_of_a_convolution_is_the_one_that_it_runs_into_wherever_that_is_defined() -> None:
    assert batch_norms(vgg(batch_norm=False)) == {}
    assert batch_norms(nets.network("tests.odd_nets:Normed")) == {"first": "norm1", "second": "norm2"}
    assert batch_norms(nets.network("tests.odd_nets:joined")) == {"0": "1"}  # as timm's, which holds an activation


NOT_FOLLOWED = "Torch-Pruning cannot follow the network there ("


@pytest.mark.parametrize(
    ("arch", "found", "layer", "reason"),
    [
        ("Recurrent", [], "patch", f"{NOT_FOLLOWED}list index out of range)"),
        ("ClassToken", [], "patch", f"{NOT_FOLLOWED}integer division or modulo by zero"),
        ("Unread", ["hidden"], "unread", f"{NOT_FOLLOWED}Module Linear("),
        ("ForAnswers", [], "first", f"{NOT_FOLLOWED}AssertionError"),
        ("Strict", ["second"], "first", "the code behind it, such as a reshape, needs all of them"),
        ("without_scale", ["second"], "first", "norm1 is a batch norm without scale and shift"),
    ],
)
def test_layers_that_cannot_lose_channels_say_why_they_stay_whole(arch, found, layer, reason) -> None:
    spec = GraphSpec(f"tests.odd_nets:{arch}", 4, SIDE)
    assert ([*layers.groups(spec)], layers.unprunable(spec)[layer][: len(reason)]) == (found, reason)


def test_reshapes_that_multiply_channels_without_end_are_not_followed() -> None:
    """As in timm's CoAtNet and MaxViT, of which Torch-Pruning fills any memory."""
    channels = [_helpers._HybridIndex(place, place) for place in range(8)]
    with layers._bounded(256):
        more = index_mapping._FlattenIndexMapping(32)(channels)
        assert len(more) == 256
        assert len(index_mapping._FlattenIndexMapping(32, reverse=True)(more)) == 8
        with pytest.raises(layers.NOT_FOLLOWED, match="more channels than any layer has weights"):
            index_mapping._FlattenIndexMapping(32)(more)
    assert len(index_mapping._FlattenIndexMapping(32)(more)) == 32 * 256


def test_where_no_layer_can_lose_channels_nothing_is_pruned() -> None:
    with pytest.raises(UserError, match=r"prune.structured: no layer in scope all of .*Recurrent can be pruned"):
        pruned(nets.network("tests.odd_nets:Recurrent"), "structured", scope="all")


def test_only_what_torch_pruning_raises_on_a_strange_network_keeps_layers_whole(monkeypatch) -> None:
    spec, search = GraphSpec("tests.odd_nets:joined", 4, SIDE), layers._searched.__wrapped__

    def fails(name: str, error: Exception) -> None:
        monkeypatch.setattr(f"torch_pruning.DependencyGraph.{name}", mock.Mock(side_effect=error))

    fails("get_pruning_group", ValueError("Module 0 is not in the dependency graph.\nMore"))
    found, whole = search(spec)
    assert (found, set(whole.values())) == (
        {},
        {"Torch-Pruning cannot follow the network there (Module 0 is not in the dependency graph.)"},
    )
    fails("build_dependency", TypeError("no sizes"))
    assert search(spec) == ({}, dict.fromkeys(whole, "Torch-Pruning cannot follow the network there (no sizes)"))
    fails("build_dependency", MemoryError())
    with pytest.raises(MemoryError):
        search(spec)


@pytest.mark.parametrize("name", ["build_dependency", "get_pruning_group", "get_pruner_of_module"])
def test_another_version_of_torch_pruning_is_no_strange_network(monkeypatch, name: str) -> None:
    monkeypatch.delattr(f"torch_pruning.DependencyGraph.{name}")
    with pytest.raises(AttributeError, match=name):
        layers._searched.__wrapped__(GraphSpec("tests.odd_nets:joined", 4, SIDE))


def test_a_batch_norm_without_statistics_is_not_recalibrated() -> None:
    model = nets.network("tests.odd_nets:without_statistics")
    before = model.norm2.running_mean.clone()
    prune.recalibrate_(model, FIT.train, 16, view=VIEW, seed=0)
    assert not torch.equal(model.norm2.running_mean, before)
    with sensitivity.batch_statistics(model):
        pass
    assert [model.norm1.track_running_stats, model.norm2.track_running_stats] == [False, True]


def test_zero_share_counts_weights_alone():
    model = vgg()
    assert zero_share(model) == 0
    with torch.no_grad():
        model.features[0].bias.zero_()
        model.classifier[6].weight.zero_()
    weights = sum(layer.weight.numel() for layer in prunable_layers(model).values())
    assert zero_share(model) == pytest.approx(model.classifier[6].weight.numel() / weights)


@pytest.mark.parametrize("arch", ["vgg11", "resnet18"])
def test_a_pruned_model_is_refused_but_for_single_weights_of_one_that_lost_channels(arch: str) -> None:
    dense = vgg(features=(2, 4, 8, 8, 16, 16, 16, 16)) if arch == "vgg11" else nets.network(arch)
    assert require_dense(dense, "m") is dense
    thinned, sparse = (pruned(dense, method, allocation="uniform").trained for method in ("structured", "unstructured"))
    assert require_dense(thinned, "m", narrow=True) is thinned
    with pytest.raises(UserError, match=r"m: channels are already removed \(widths "):
        require_dense(thinned, "m")
    for narrow in (False, True):
        with pytest.raises(UserError, match="m: already pruned"):
            require_dense(sparse, "m", narrow=narrow)


def test_the_layers_of_a_stage_of_a_resnet_lose_the_same_channels() -> None:
    found = layers.groups(GraphSpec("resnet18", 4, SIDE))
    assert found["conv1"].members == ("conv1", "layer1.0.conv2", "layer1.1.conv2")
    assert found["layer1.0.conv1"].members == ("layer1.0.conv1",)
    assert "fc" not in {member for group in found.values() for member in group.members}
    assert all(len(indices) == group.channels for group in found.values() for indices in group.parts.values())


@pytest.mark.parametrize(
    ("make", "criterion"),
    [
        *((vgg, "l2_channel"), (lambda: vgg(batch_norm=False, image_size=64), "l2_channel")),
        *((partial(nets.network, arch), "l2_channel") for arch in ("resnet18", "mobilenet_v2", "squeezenet1_0")),
        *((partial(nets.network, f"tests.odd_nets:{arch}"), "l2_channel") for arch in ("flat", "frozen")),
        (partial(nets.network, "tests.odd_nets:without_scale"), "bn_scale"),
        (partial(nets.network, "tests.odd_nets:frozen"), "taylor"),
    ],
)  # tests/docs/test_models.py: the others
def test_the_removed_network_answers_as_the_masked_one_and_trains_on(make, criterion: str, tmp_path: Path) -> None:
    model: Classifier = make()
    images = torch.randn(3, 3, model.spec.image_size, model.spec.image_size)
    way = {"scope": "all", "allocation": "uniform", "criterion": criterion}
    before, made = nets.state(model), pruned(model, "structured", 0.4, **way)
    smaller, (*rows, overall) = made.trained, made.table
    step = max(row["weights"] / row["units"] for row in rows)
    assert abs(overall["pruned_weights"] - 0.4 * overall["weights"]) <= step / 2 + 1
    assert same(before, model.state_dict())
    for row in rows:
        assert len(smaller.get_parameter(f"{row['layer']}.weight")) == row["units"] - row["pruned_units"]
    require_alike(made, images, tmp_path / "m.safetensors")
    with torch.no_grad():
        answers = made.masked(images)
        assert (answers - model(images)).abs().max() > 1e-2 * answers.abs().max()
    smaller.train()(images).sum().backward()
    assert [p.grad is not None for p in smaller.parameters()] == [p.requires_grad for p in model.parameters()]


@torch.no_grad()
def require_alike(made: prune.Pruned, images: torch.Tensor, path: Path) -> None:
    """The removed network and the masked one answer alike, and so does what a file of the former holds."""
    answers = made.masked(images)
    torch.testing.assert_close(made.trained(images), answers, rtol=1e-4, atol=1e-4 * float(answers.abs().max()))
    view = replace(VIEW, size=images.shape[-1])
    checkpoint.save(path, made.trained, view=view, classes=CLASSES, provenance={})
    assert torch.equal(checkpoint.load(path).model(images), made.trained(images))


@torch.no_grad()
def test_attention_loses_whole_heads(tmp_path: Path) -> None:
    model, images = nets.network("tests.odd_nets:Attending"), torch.randn(3, 3, SIDE, SIDE)
    assert list(layers.groups(model.spec)) == ["attention.qkv"]
    model.attention.qkv.weight.view(3, 4, 6, 24)[:, 2] *= 0.1  # the head that matters least
    made = pruned(model, "structured", 0.25, allocation="uniform", scope="all")
    assert (made.table[0]["units"], made.table[0]["pruned_weights"]) == (4, 3 * 6 * 24)
    heads = made.masked.attention.qkv.weight.view(3, 4, -1)[0]
    assert [bool(head.any()) for head in heads] == [True, True, False, True]
    assert not torch.allclose(made.trained(images), model(images))
    require_alike(made, images, tmp_path / "m.safetensors")


def test_tied_layers_are_judged_together() -> None:
    ours = {name: torch.arange(1.0, 65.0) for name in ("conv1", "layer1.0.conv2", "layer1.0.conv1")}
    found = group_scores(nets.network("resnet18"), ours | {"layer1.1.conv2": 100 * torch.arange(64.0, 0, -1)})
    assert torch.equal(found["layer1.0.conv1"], ours["layer1.0.conv1"])
    torch.testing.assert_close(found["conv1"][0], torch.tensor((1 + 1 + 64) / 32.5 / 3))
