"""What is in scope, which models are dense, and pruning where layers are tied to each other."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
import torch

from deepcompress.errors import UserError
from deepcompress.models import checkpoint
from deepcompress.models.spec import GraphSpec
from deepcompress.models.vgg import prunable_layers
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


@torch.no_grad()
def test_all_places_of_a_flattened_map_go_with_its_channel() -> None:
    made, images = pruned(nets.network("tests.odd_nets:flat"), "structured", 0.5), torch.randn(3, 3, SIDE, SIDE)
    assert made.trained[4].weight.shape == (len(CLASSES), 4 * 4)
    nets.assert_equal_outputs(made.trained(images), made.masked(images))


@torch.no_grad()
def test_a_layer_whose_batch_norm_has_no_scale_stays_whole() -> None:
    model, images = nets.network("tests.odd_nets:without_scale"), torch.randn(3, 3, SIDE, SIDE)
    assert layers.unprunable(model.spec) == {"first": "norm1 is a batch norm without scale and shift"}
    made = pruned(model, "structured", 0.4, criterion="bn_scale", allocation="uniform")
    nets.assert_equal_outputs(made.trained(images), made.masked(images))
    assert pruned(model, "unstructured", 0.5).table[-1]["achieved_sparsity"] == pytest.approx(0.5, abs=1e-3)


def test_layers_behind_which_torch_pruning_fails_stay_whole_and_without_others_nothing_is_pruned() -> None:
    model = nets.network("tests.odd_nets:Recurrent")
    assert layers.groups(model.spec) == {}
    reason = "Torch-Pruning cannot follow the network there (list index out of range)"
    assert layers.unprunable(model.spec) == {"patch": reason}
    with pytest.raises(UserError, match=r"prune.structured: no layer in scope all of .*Recurrent can be pruned"):
        pruned(model, "structured", scope="all")


@pytest.mark.parametrize(
    ("arch", "layer", "reason"),
    [
        ("ClassToken", "patch", "integer division or modulo by zero"),
        ("Unread", "unread", "Module Linear("),
        ("ForAnswers", "first", "AssertionError"),
    ],
)
def test_layers_that_torch_pruning_cannot_follow_say_why_they_stay_whole(arch: str, layer: str, reason: str) -> None:
    whole = layers.unprunable(GraphSpec(f"tests.odd_nets:{arch}", 4, SIDE))
    assert whole[layer].startswith(f"Torch-Pruning cannot follow the network there ({reason}")


def test_a_network_whose_own_code_wants_all_channels_keeps_them() -> None:
    spec = GraphSpec("tests.odd_nets:Strict", 4, SIDE)
    reason = "the code behind it, such as a reshape, needs all of them"
    assert ([*layers.groups(spec)], layers.unprunable(spec)) == (["second"], {"first": reason})


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


@pytest.mark.parametrize("criterion", ["l2_channel", "taylor"])
def test_channels_of_frozen_layers_can_go(criterion: str) -> None:
    model, images = nets.network("tests.odd_nets:frozen"), torch.randn(3, 3, SIDE, SIDE)
    made = pruned(model, "structured", 0.5, criterion=criterion)
    assert len(made.trained[0][0].weight) == 4
    assert not made.trained[0][0].weight.requires_grad
    with torch.no_grad():
        nets.assert_equal_outputs(made.trained(images), made.masked(images))


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
    assert all(len(part.indices) == group.channels for group in found.values() for part in group.parts)


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v2", "squeezenet1_0"])  # tests/docs/test_models.py: the others
@torch.no_grad()
def test_the_removed_network_answers_as_the_masked_one(arch: str, tmp_path: Path) -> None:
    model, images = nets.network(arch), torch.randn(3, 3, SIDE, SIDE)
    before, made = nets.state(model), pruned(model, "structured", 0.4, allocation="uniform")
    smaller, answers = made.trained, made.masked(images)
    torch.testing.assert_close(smaller(images), answers, rtol=1e-4, atol=1e-4 * float(answers.abs().max()))
    assert (answers - model(images)).abs().max() > 1e-2 * answers.abs().max()
    assert made.table[-1]["achieved_sparsity"] == pytest.approx(0.4, abs=0.02)
    assert same(before, model.state_dict())
    for row in made.table[:-1]:
        assert len(smaller.get_parameter(f"{row['layer']}.weight")) == row["units"] - row["pruned_units"]
    checkpoint.save(tmp_path / "m.safetensors", smaller, view=VIEW, classes=CLASSES, provenance={})
    assert torch.equal(checkpoint.load(tmp_path / "m.safetensors").model(images), smaller(images))


@torch.no_grad()
def test_attention_loses_whole_heads(tmp_path: Path) -> None:
    model, images = nets.network("tests.odd_nets:Attending"), torch.randn(3, 3, SIDE, SIDE)
    assert list(layers.groups(model.spec)) == ["attention.qkv"]
    model.attention.qkv.weight.view(3, 4, 6, 24)[:, 2] *= 0.1  # the head that matters least
    made = pruned(model, "structured", 0.25, allocation="uniform", scope="all")
    assert (made.table[0]["units"], made.table[0]["pruned_weights"]) == (4, 3 * 6 * 24)
    masked, smaller = made.masked, made.trained
    assert [bool(head.any()) for head in masked.attention.qkv.weight.view(3, 4, -1)[0]] == [True, True, False, True]
    nets.assert_equal_outputs(smaller(images), masked(images))
    assert not torch.allclose(smaller(images), model(images))
    checkpoint.save(tmp_path / "m.safetensors", smaller, view=VIEW, classes=CLASSES, provenance={})
    assert torch.equal(checkpoint.load(tmp_path / "m.safetensors").model(images), smaller(images))


def test_a_removed_network_trains() -> None:
    smaller = pruned(nets.network("resnet18"), "structured", 0.3, allocation="uniform").trained
    smaller.train()(torch.randn(4, 3, SIDE, SIDE)).sum().backward()
    assert all(parameter.grad is not None for parameter in smaller.parameters())


def test_tied_layers_are_judged_together() -> None:
    ours = {name: torch.arange(1.0, 65.0) for name in ("conv1", "layer1.0.conv2", "layer1.0.conv1")}
    found = group_scores(nets.network("resnet18"), ours | {"layer1.1.conv2": 100 * torch.arange(64.0, 0, -1)})
    assert torch.equal(found["layer1.0.conv1"], ours["layer1.0.conv1"])
    torch.testing.assert_close(found["conv1"][0], torch.tensor((1 + 1 + 64) / 32.5 / 3))
