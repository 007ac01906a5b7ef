"""What a network does not allow is refused for the step alone, or said in a line; the layer in the way is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deepcompress.errors import UserError
from deepcompress.plan_networks import require_networks

NETS = """
import torch
from torch import nn


class Tokens(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.head = nn.Linear(12, classes)  # defined first, runs last
        self.patch, self.norm = nn.Conv2d(3, 12, 8, 8), nn.LayerNorm(12)
        self.hidden, self.out = nn.Linear(12, 20), nn.Linear(20, 12)

    def forward(self, images):
        tokens = self.patch(images).flatten(2).transpose(1, 2)
        tokens = tokens + self.out(self.hidden(self.norm(tokens)).relu())
        return self.head(tokens.mean(1))


def conv(classes):
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, classes, 7),
                         nn.Flatten())


def grouped(classes):
    return nn.Sequential(nn.Conv2d(3, 9, 3, groups=3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(9, classes))


def shared(classes):
    layer = nn.Conv2d(3, 3, 3)
    return nn.Sequential(layer, layer, nn.Flatten(), nn.LazyLinear(classes))


def maps(classes):
    return nn.Conv2d(3, classes, 3)


def broken(classes):
    raise KeyError("no such thing")


def leaves(classes):
    raise SystemExit(3)


def one(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, classes))


tensor = torch.zeros
"""


@pytest.fixture(autouse=True)
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def document(
    function: str, *, scope: str = "all", trainable: str = "all", sweep: tuple[str, ...] = ()
) -> dict[str, Any]:
    recipe = {"trainable": trainable}
    vgg = {"arch": "vgg11", "image_size": 32, "weights": None, "recipe": recipe}
    prune = {"method": "structured", "structured": {"scope": scope}, "sweep": {"methods": sweep}, "finetune": recipe}
    return {
        "model": {"arch": f"some_nets:{function}", "image_size": 32, "weights": None},
        "finetune": recipe,
        "prune": prune,
        "quant": {"qat": recipe},
        "teachers": {},
        "distill": {"student": vgg},
        "combine": {},
    }


def test_a_vgg_is_not_built() -> None:
    plain = document("none")
    plain["model"]["arch"] = "vgg11"
    assert require_networks(plain) == []


def test_what_is_left_out_of_tokens_is_said() -> None:
    attention, whole = require_networks(document("Tokens"))
    assert attention.startswith("model: some_nets:Tokens has no maps of block3, so none")
    assert whole.startswith(
        "structured pruning leaves 2 layers of some_nets:Tokens whole (patch: norm is a LayerNorm; out:"
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            {"function": "Tokens", "scope": "conv"},
            "prune.method: of some_nets:Tokens only linear layers can lose units",
        ),
        (
            {"function": "grouped"},
            r"prune.method: structured cannot .* \(0: 0 is a convolution in groups\); unstructured",
        ),
        ({"function": "conv", "trainable": "head"}, "finetune.trainable: some_nets:conv ends in no linear layer"),
        ({"function": "shared"}, "model.arch: some_nets:shared: layer 0 runs 2 times; give each place its own"),
        (
            {"function": "maps"},
            r"model.arch: some_nets:maps must give 2 logits per image, \(1, 2\); got \(1, 2, 30, 30\)",
        ),
        ({"function": "broken"}, "model.arch: some_nets:broken: KeyError while it was called: 'no such thing'"),
        ({"function": "tensor"}, r"model.arch: some_nets:tensor.* must give a torch.nn.Module.*, got Tensor"),
        ({"function": "leaves"}, "model.arch: some_nets:leaves: SystemExit while it was called: 3"),
        ({"function": "one"}, r"prune.method: structured cannot .* \(its outputs are the classes\); unstructured"),
        ({"function": "gone"}, "model.arch: some_nets:gone: AttributeError while it was called"),
    ],
)
def test_what_cannot_be_is_refused_by_key(change: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=f"^params.yaml: {named}"):
        require_networks(document(**change))


def test_damaged_weights_are_refused_before_any_work(tmp_path: Path) -> None:
    given = document("none")
    given["model"] = {"arch": "vgg11", "image_size": 32, "weights": "w.pth"}
    (tmp_path / "w.pth").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UserError, match=r"^params.yaml: model.weights: w.pth: damaged, or holds more than tensors"):
        require_networks(given)


def test_a_name_that_timm_does_not_have_is_refused_with_some_like_it() -> None:
    pytest.importorskip("timm")
    unknown = document("none")
    unknown["model"]["arch"] = "timm:resnet19"
    with pytest.raises(UserError, match=r"^params.yaml: model.arch: timm has no network 'resnet19'; it has .*resnet"):
        require_networks(unknown)
