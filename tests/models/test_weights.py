"""Pretrained weights: torchvision's layout is taken, or refused by tensor; the download code really runs."""

import argparse
import dataclasses
import hashlib
import io
import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from deepcompress.errors import UserError
from deepcompress.models import checkpoint, weights
from deepcompress.models.spec import GraphSpec, Spec
from deepcompress.models.vgg import VGG
from deepcompress.models.weights import load_pretrained_
from tests import nets
from tests.data.inputs import served
from tests.faults.damage import Trap
from tests.models.conftest import TINY

State = dict[str, torch.Tensor]


@pytest.fixture
def state() -> State:
    torch.manual_seed(1)
    return VGG(TINY).state_dict()


def written(path: Path, state: Any) -> Path:
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


def equal(one: State, other: State) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.bin"])
def test_a_file_of_the_official_layout_is_told_by_its_content(
    tiny: VGG, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = written(tmp_path / ("w.pth" if name == "w.pth" else "w.safetensors"), state).rename(tmp_path / name)
    load_pretrained_(tiny, f"~/{name}" if name == "w.pth" else path)
    assert equal(tiny.state_dict(), state)


def test_a_checkpoint_of_this_project_is_decoded(tiny: VGG, tmp_path: Path) -> None:
    path, other, encodings = tmp_path / "m.safetensors", VGG(TINY), {"features.0.weight": "bitmask"}
    checkpoint.save(path, other, view=nets.VIEW, classes=("a", "b", "c"), provenance={}, encodings=encodings)
    load_pretrained_(tiny, path)
    assert nets.same(tiny.state_dict(), other.state_dict())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"features.0.weight": None}, "tensor features.0.weight is missing"),
        ({"features.50.weight": torch.zeros(1)}, "tensor features.50.weight is not part of the model"),
        ({"classifier.0.weight": torch.zeros(8, 49)}, r"tensor classifier.0.weight must be \(8, 6\), got \(8, 49\)"),
        ({"features.1.bias": torch.full((2,), torch.nan)}, "tensor features.1.bias holds NaN"),
    ],
)
def test_a_mismatch_is_named_and_changes_nothing(
    tiny: VGG, state: State, tmp_path: Path, change: dict[str, torch.Tensor | None], named: str
) -> None:
    before = nets.state(tiny)
    given = {name: tensor for name, tensor in (state | change).items() if tensor is not None}
    with pytest.raises(UserError, match=named):
        load_pretrained_(tiny, written(tmp_path / "w.pth", given))
    assert nets.same(before, tiny.state_dict())


SPRUNG = Path("trap-was-sprung")


def zipped(content: Any) -> bytes:
    """As torch saves it."""
    torch.save(content, stream := io.BytesIO())
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("w.pth", b""),
        ("w.pth", b"not weights"),
        ("w.pth", pickle.dumps(Trap(SPRUNG))),
        ("w.pth", zipped({"a": Trap(SPRUNG)})),
        ("w.pth", pickle.dumps({"a": 1})),
        ("w.safetensors", b"\xff" * 40),
    ],
)
def test_a_damaged_or_unsafe_file_is_refused(
    tiny: VGG, tmp_path: Path, name: str, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    with pytest.raises(UserError, match=f"^params.yaml: model.weights: {name}: [^\n]+$"):
        load_pretrained_(tiny, name)
    assert not SPRUNG.exists()


def wrapped(state: State) -> dict[str, Any]:
    """Content of a file by how its script saved it; the head is for other classes in all of them."""
    counters = {"total_ops": torch.zeros(1), "features.0.total_params": torch.zeros(1)}
    others = {"epoch": 3, "args": argparse.Namespace(lr=0.1), "best": np.float64(1), "optimizer": {"state": {0: state}}}
    renamed = {name.replace("classifier.6", "head"): tensor for name, tensor in state.items()}
    return {
        "state dict": state,
        "DataParallel": {f"module.{name}": tensor for name, tensor in state.items()},
        "compiled": {f"_orig_mod.module.{name}": tensor for name, tensor in state.items()},
        "nested": {"net": state, "ema": {name: tensor + 1 for name, tensor in state.items()}, **others},
        "Lightning": {"state_dict": {f"model.{n}": t for n, t in state.items()}, "hyper_parameters": Arguments(lr=1)},
        "another key": {"mine": {"params": state}},
        "a backbone": {f"backbone.{name}": t for name, t in state.items() if not name.startswith("classifier.6")},
        "a head of another name": renamed,
        "counters": {**state, **counters},
        "no counts of batches, as torchvision's": {n: t for n, t in state.items() if "num_batches" not in n},
        "half": {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()},
    }


class Arguments(dict):  # type: ignore[type-arg]
    """As Lightning keeps hyperparameters."""


KINDS = [*wrapped({})]


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_is_taken_as_its_script_saved_it(
    kind: str, state: State, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = VGG(dataclasses.replace(TINY, classes=4))
    head = model.get_parameter("classifier.6.weight").clone()
    halves = {name: t.half().to(t.dtype) if t.is_floating_point() else t for name, t in state.items()}
    with caplog.at_level(logging.INFO):
        load_pretrained_(model, written(tmp_path / "w.pt", wrapped(halves)[kind]), "distill.student")
    kept = {n: t for n, t in halves.items() if not n.startswith("classifier.6") and "num_batches" not in n}
    assert equal(kept, model.state_dict())
    assert torch.equal(model.get_parameter("classifier.6.weight"), head)
    assert "params.yaml: distill.student.weights: " in caplog.text
    assert "52 tensors loaded; fresh: classifier.6.weight, classifier.6.bias; not used: " in caplog.text


def test_several_networks_in_a_file_are_refused(tiny: VGG, state: State, tmp_path: Path) -> None:
    both = {f"{side}.{name}": tensor for name, tensor in state.items() for side in ("student", "teacher")}
    with pytest.raises(UserError, match=r"holds several networks, under student\. and teacher\.; keep one"):
        load_pretrained_(tiny, written(tmp_path / "w.pth", both))
    apart = {"student": state, "teacher": {"ema": state}, "epoch": 3}
    with pytest.raises(
        UserError, match=r"under student and teacher\.ema; .* torch\.save\(torch\.load\(PATH\)\['student'\]"
    ):
        load_pretrained_(tiny, written(tmp_path / "w.pth", apart))


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"epoch": 3}, {"state_dict": {"a": 1}}, torch.zeros(2), None])
def test_a_file_of_something_else_is_refused_with_how_to_save_weights(tiny: VGG, tmp_path: Path, content: Any) -> None:
    told = "holds a whole model" if content is None else "must hold a mapping of layer names to tensors"
    with pytest.raises(UserError, match=rf"{told}.*torch\.save\(model\.state_dict\(\), PATH\)"):
        load_pretrained_(tiny, written(tmp_path / "w.pth", tiny if content is None else content))


def test_a_missing_file_is_refused(tiny: VGG, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"teachers\.a\.weights: .*none\.pth: no such file; it must be null"):
        load_pretrained_(tiny, tmp_path / "none.pth", "teachers.a")
    with pytest.raises(UserError, match=r"model\.weights: .*: is a folder, and must be a file; it must be null"):
        load_pretrained_(tiny, tmp_path)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (dataclasses.replace(TINY, batch_norm=False), "vgg11-8a719046.pth"),
        (TINY, "vgg11_bn-6002323d.pth"),
        (GraphSpec("resnet18", 4, 32), "resnet18-f37072fd.pth"),
    ],
)
def test_addresses_are_torchvisions(spec: Spec, name: str) -> None:
    assert weights._address(spec) == f"https://download.pytorch.org/models/{name}"


@pytest.fixture
def published(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file at what stands for torchvision's address, with its checksum in its name, and a private download cache."""
    path = written(tmp_path / "w.pth", state)
    (tmp_path / "served").mkdir()
    path = path.rename(tmp_path / f"served/vgg11_bn-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    with served(path.parent) as (address, _):
        monkeypatch.setattr(weights, "_address", lambda spec: f"{address}/{path.name}")
        yield path


def test_imagenet_weights_are_downloaded_once(tiny: VGG, state: State, published: Path) -> None:
    load_pretrained_(tiny, "imagenet")
    assert equal(tiny.state_dict(), state)
    published.unlink()
    load_pretrained_(VGG(tiny.spec), "imagenet")


def test_what_cannot_be_downloaded_is_not_kept_and_the_address_and_the_way_out_are_named(
    tiny: VGG, published: Path, tmp_path: Path
) -> None:
    published.write_bytes(b"something else")
    for reason in ("invalid hash value", "404"):
        line = rf"http://127\.0\.0\.1:\d+/vgg11_bn-\w+\.pth: download failed \(.*{reason}.*put it at .*cache"
        with pytest.raises(UserError, match=line):
            load_pretrained_(tiny, "imagenet")
        published.unlink(missing_ok=True)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
