"""Pruning where layers are tied to each other: what is masked and what is removed answer alike."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from deepcompress.errors import UserError
from deepcompress.measure import accuracy
from deepcompress.models import checkpoint
from deepcompress.models.spec import TorchvisionSpec
from deepcompress.models.vgg import prunable_layers
from deepcompress.pruning import layers, masks
from deepcompress.pruning.layers import group_scores, in_scope, require_dense, scored_layers, zero_share
from deepcompress.pruning.masks import remove_channels
from deepcompress.pruning.prune import choose
from deepcompress.pruning.scoring import score
from deepcompress.pruning.sensitivity import scan
from deepcompress.pruning.settings import MethodConfig
from tests.nets import CLASSES, SIDE, VIEW, batches, network

STRUCTURED = MethodConfig(criterion="l2_channel", allocation="uniform", scope="conv")
UNSTRUCTURED = MethodConfig(criterion="l1", allocation="uniform", scope="all")


def pruned(model, sparsity: float):
    choice = choose(model, "structured", STRUCTURED, sparsity, seed=0)
    masked = copy.deepcopy(model)
    masks.apply_(masked, choice.masks)
    return masked, remove_channels(masked, masks.kept_channels(masked, choice.masks)), choice


def test_the_layers_of_a_stage_of_a_resnet_lose_the_same_channels() -> None:
    found = layers.groups(TorchvisionSpec("resnet18", 4, SIDE))
    assert found["conv1"].members == ("conv1", "layer1.0.conv2", "layer1.1.conv2")
    assert found["layer1.0.conv1"].members == ("layer1.0.conv1",)
    assert "fc" not in {member for group in found.values() for member in group.members}
    assert all(len(part.indices) == group.channels for group in found.values() for part in group.parts)


@pytest.mark.parametrize(
    "arch", ["resnet18", "mobilenet_v2", "mobilenet_v3_small", "densenet121", "squeezenet1_0", "resnext50_32x4d"]
)
@torch.no_grad()
def test_the_removed_network_answers_as_the_masked_one(arch: str, tmp_path: Path) -> None:
    model, images = network(arch), torch.randn(3, 3, SIDE, SIDE)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    masked, smaller, choice = pruned(model, 0.4)
    answers = masked(images)
    torch.testing.assert_close(smaller(images), answers, rtol=1e-4, atol=1e-4 * float(answers.abs().max()))
    assert (answers - model(images)).abs().max() > 1e-2 * answers.abs().max()
    assert choice.table[-1]["achieved_sparsity"] == pytest.approx(0.4, abs=0.02)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    for row in choice.table[:-1]:
        assert len(smaller.get_parameter(f"{row['layer']}.weight")) == row["units"] - row["pruned_units"]
    checkpoint.save(tmp_path / "m.safetensors", smaller, view=VIEW, classes=CLASSES, provenance={})
    assert torch.equal(checkpoint.load(tmp_path / "m.safetensors").model(images), smaller(images))


def test_a_removed_network_trains_and_is_refused_as_a_dense_one() -> None:
    _, smaller, _ = pruned(network("resnet18"), 0.3)
    smaller.train()(torch.randn(4, 3, SIDE, SIDE)).sum().backward()
    assert all(parameter.grad is not None for parameter in smaller.parameters())
    with pytest.raises(UserError, match=r"m: channels are already removed \(widths "):
        require_dense(smaller, "m")
    assert require_dense(dense := network("resnet18"), "m") is dense


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v2"])
def test_zeros_stay_zeros_in_training(arch: str) -> None:
    model = network(arch)
    choice = choose(model, "unstructured", UNSTRUCTURED, 0.5, seed=0)
    masks.apply_(model, choice.masks)
    assert zero_share(model) == pytest.approx(0.5, abs=1e-3)
    hold, optimizer = masks.hold(model, choice.masks), torch.optim.AdamW(model.parameters(), lr=0.01)
    model.train()(torch.randn(4, 3, SIDE, SIDE)).square().sum().backward()
    optimizer.step()
    hold()
    assert zero_share(model) == pytest.approx(0.5, abs=1e-3)
    weights = {f"{name}.weight": layer.weight for name, layer in prunable_layers(model).items()}
    assert all((weight[~choice.masks[name]] == 0).all() for name, weight in weights.items())


@pytest.mark.parametrize(("method", "granularity"), [("unstructured", "weight"), ("structured", "channel")])
def test_the_scan_equals_the_plain_loop(method, granularity) -> None:
    model, data = network("mobilenet_v2"), batches(images=4, batch_size=3)
    layers = dict([*in_scope(model, method, "all").items()][:4])
    scores = score("random", scored_layers(model, method, layers), granularity)
    scores = group_scores(model, scores) if method == "structured" else scores
    rows = scan(model, data, {name: scores[name] for name in layers}, (0.0, 0.3, 0.6), granularity=granularity)
    assert len(rows) == 12
    for row in rows:
        other, counts = copy.deepcopy(model), {row["layer"]: row["pruned_units"]}
        structured = method == "structured"
        masks.apply_(
            other, masks.structured(other, scores, counts) if structured else masks.unstructured(scores, counts)
        )
        logits, labels = accuracy.logits(other, data)
        assert row["right"] == int(accuracy.top_k_correct(logits, labels).sum())
        assert row["loss"] == pytest.approx(accuracy.cross_entropy(logits, labels), rel=1e-5)


def test_tied_layers_are_judged_together() -> None:
    ours = {name: torch.arange(1.0, 65.0) for name in ("conv1", "layer1.0.conv2", "layer1.0.conv1")}
    found = group_scores(network("resnet18"), ours | {"layer1.1.conv2": 100 * torch.arange(64.0, 0, -1)})
    assert torch.equal(found["layer1.0.conv1"], ours["layer1.0.conv1"])
    torch.testing.assert_close(found["conv1"][0], torch.tensor((1 + 1 + 64) / 32.5 / 3))
