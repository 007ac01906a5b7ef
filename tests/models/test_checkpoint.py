"""Checkpoints: equal models give equal bytes, what was saved comes back, and encodings are lossless."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from deepcompress.data.batches import View
from deepcompress.errors import UserError
from deepcompress.models import checkpoint
from deepcompress.models.checkpoint import Encoded
from deepcompress.models.encodings import bitmask
from deepcompress.models.vgg import VGG, prunable_layers

VIEW = View(size=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
CLASSES = ("disc", "Ring", "étoile")
PROVENANCE = {"stage": "finetune", "seed": 0, "params": {"epochs": 3, "learning_rate": 1e-3}, "versions": {}}


def save(path: Path, model: VGG, **changes: Any) -> bytes:
    checkpoint.save(path, model, **{"view": VIEW, "classes": CLASSES, "provenance": PROVENANCE, **changes})
    return path.read_bytes()


def sparse_(model: VGG, sparsity: float = 0.75) -> VGG:
    with torch.no_grad():
        for layer in prunable_layers(model).values():
            layer.weight *= torch.rand_like(layer.weight) >= sparsity
    return model


def test_what_was_saved_comes_back(tiny: VGG, tmp_path: Path) -> None:
    tiny(torch.randn(4, 3, 32, 32))  # moves the batch norms' statistics
    save(tmp_path / "a/model.safetensors", tiny)
    loaded = checkpoint.load(tmp_path / "a/model.safetensors")
    assert loaded.model.spec == tiny.spec
    assert list(loaded.model.state_dict()) == list(tiny.state_dict())
    assert all(torch.equal(loaded.model.state_dict()[name], t) for name, t in tiny.state_dict().items())
    assert (loaded.view, loaded.classes, loaded.provenance) == (VIEW, CLASSES, PROVENANCE)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded.model(images), tiny.eval()(images))


def test_a_loaded_model_is_ready_to_train(tiny: VGG, tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", tiny)
    model = checkpoint.load(tmp_path / "model.safetensors").model
    assert not any(module.training for module in model.modules())
    model.train()(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_loaded_model_outlives_its_file(tiny: VGG, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    content = save(path, tiny)
    model = checkpoint.load(path).model
    path.write_bytes(b"\xff" * len(content))  # in place: a mapped tensor would change with it
    assert torch.equal(model.state_dict()["classifier.0.weight"], tiny.state_dict()["classifier.0.weight"])


def test_the_same_model_gives_the_same_bytes(tiny: VGG, tmp_path: Path) -> None:
    content = save(tmp_path / "a", tiny)
    assert save(tmp_path / "b", tiny.to(memory_format=torch.channels_last)) == content
    again = checkpoint.load(tmp_path / "a")
    reordered = dict(reversed(again.provenance.items()))
    assert save(tmp_path / "c", again.model, provenance=reordered) == content


def test_repeated_saves_of_encoded_tensors_give_the_same_bytes(tiny: VGG, tmp_path: Path) -> None:
    encodings = {f"{name}.weight": "bitmask" for name in prunable_layers(tiny)}
    orders = [encodings, dict(reversed(encodings.items()))] * 3  # a hash map inside would show up here
    assert len({save(tmp_path / "model", tiny, encodings=order) for order in orders}) == 1


def test_the_header_holds_one_description(tiny: VGG, tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", tiny)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as stored:
        metadata = stored.metadata()
    assert list(metadata) == ["description"]
    description = json.loads(metadata["description"])
    assert description["format_version"] == 1
    assert description["spec"] == tiny.spec.to_dict()
    assert description == checkpoint.load(tmp_path / "model.safetensors").description


def test_provenance_names_versions_and_nothing_that_changes() -> None:
    found = checkpoint.provenance("prune", seed=3, params={"sparsity": 0.25})
    assert found == checkpoint.provenance("prune", seed=3, params={"sparsity": 0.25})
    assert set(found) == {"stage", "seed", "params", "versions"}
    assert set(found["versions"]) == {"deepcompress", "torch"}


def test_loading_draws_no_random_numbers(tiny: VGG, tmp_path: Path) -> None:
    save(tmp_path / "model", tiny)
    before = torch.get_rng_state()
    checkpoint.load(tmp_path / "model")
    assert torch.equal(before, torch.get_rng_state())


def test_a_pruned_model_is_smaller_as_bitmasks_and_comes_back_equal(tiny: VGG, tmp_path: Path) -> None:
    sparse_(tiny)
    dense = save(tmp_path / "dense", tiny)
    encodings = {f"{name}.weight": "bitmask" for name in prunable_layers(tiny)}
    packed = save(tmp_path / "packed", tiny, encodings=encodings)
    loaded = checkpoint.load(tmp_path / "packed")
    assert all(torch.equal(loaded.model.state_dict()[name], t) for name, t in tiny.state_dict().items())
    assert loaded.description["encodings"] == encodings
    assert len(packed) < len(dense)
    assert save(tmp_path / "again", loaded.model, encodings=encodings) == packed


def test_an_encoding_that_loses_something_is_refused(tiny: VGG, tmp_path: Path) -> None:
    parts = bitmask.encode(tiny.classifier[0].weight.detach() + 1)
    with pytest.raises(ValueError, match=r"does not give back the values of tensor classifier\.0\.weight"):
        save(tmp_path / "model", tiny, encodings={"classifier.0.weight": Encoded("bitmask", parts)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"classes": ("a", "b")}, "2 class names for 3 classes"),
        ({"view": View(size=64, mean=VIEW.mean, std=VIEW.std)}, "64 px for a model of 32 px"),
        ({"view": View(size=32, mean=VIEW.mean, std=(1.0, 0.0, 1.0))}, "std"),
        ({"provenance": {"seed": np.zeros(1)}}, "serialize"),
        ({"encodings": {"features.99.weight": "bitmask"}}, r"features\.99\.weight"),
    ],
)
def test_arguments_that_disagree_are_refused(tiny: VGG, tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        save(tmp_path / "model", tiny, **changes)
    assert not list(tmp_path.iterdir())


def test_a_model_that_diverged_is_refused(tiny: VGG, tmp_path: Path) -> None:
    with torch.no_grad():
        tiny.classifier[3].bias[0] = float("nan")
    with pytest.raises(UserError, match=r"tensor classifier\.3\.bias holds NaN or infinity"):
        save(tmp_path / "model", tiny)


def test_a_model_made_from_another_is_saved_with_its_view_and_classes(tiny: VGG, tmp_path: Path) -> None:
    save(tmp_path / "one.safetensors", tiny)
    first = checkpoint.load(tmp_path / "one.safetensors")
    with torch.no_grad():
        first.model.classifier[0].weight[1:] = 0
    origin = checkpoint.provenance("prune", seed=1, params={})
    first.save_alike(tmp_path / "two.safetensors", first.model, origin, {"classifier.0.weight": "bitmask"})
    second = checkpoint.load(tmp_path / "two.safetensors")
    assert (second.view, second.classes, second.provenance) == (first.view, first.classes, origin)
    assert torch.equal(second.model.classifier[0].weight, first.model.classifier[0].weight)
    assert second.description["encodings"] == {"classifier.0.weight": "bitmask"}
