"""A damaged or dishonest checkpoint ends in one line naming the file and the tensor, not in a traceback."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from deepcompress.data.batches import View
from deepcompress.errors import UserError
from deepcompress.models import checkpoint, records
from deepcompress.models.encodings import coded
from deepcompress.models.quantized_weight import QuantizedWeight
from deepcompress.models.vgg import VGG
from tests.faults.damage import Trap

Tensors = dict[str, torch.Tensor]
Block = dict[str, Any]


@pytest.fixture
def good(tiny: VGG, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    checkpoint.save(
        path,
        tiny,
        view=View(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        classes=("a", "b", "c"),
        provenance={},
        encodings={"classifier.0.weight": "bitmask"},
    )
    return path


@pytest.fixture
def stream(tiny: VGG, tmp_path: Path) -> Path:
    """A file that holds all its tensors in one stream."""
    weight = QuantizedWeight.quantize(tiny.classifier[0].weight.detach(), 4)
    tiny.classifier[0].weight.data = weight.dequantize()
    path, view = tmp_path / "stream.safetensors", View(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    encodings = {
        "classifier.0.weight": checkpoint.Encoded("coded", coded.encode(weight)),
        "features.4.weight": "bitmask",
    }
    checkpoint.save(path, tiny, view=view, classes=("a", "b", "c"), provenance={}, encodings=encodings)
    return path


def rewritten(good: Path, change: Callable[[Tensors, Block], None]) -> Path:
    with safe_open(good, framework="pt") as stored:
        block = json.loads(stored.metadata()["description"])
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    change(tensors, block)
    bad = good.with_name("bad.safetensors")
    save_file(tensors, bad, metadata={"description": json.dumps(block)})
    return bad


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        checkpoint.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def put(name: str, tensor: torch.Tensor) -> Callable[[Tensors, Block], None]:
    return lambda tensors, block: tensors.__setitem__(name, tensor)


def drop(name: str) -> Callable[[Tensors, Block], None]:
    return lambda tensors, block: tensors.__delitem__(name)


def test_the_untouched_file_loads(good: Path) -> None:
    checkpoint.load(rewritten(good, lambda tensors, block: None))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (drop("features.1.running_mean"), "tensor features.1.running_mean is missing"),
        (put("features.99.weight", torch.zeros(1)), "tensor features.99.weight is not part of the model"),
        (put("features.0.weight", torch.zeros(2, 3, 5, 5)), "tensor features.0.weight must be (2, 3, 3, 3)"),
        (
            put("features.0.bias", torch.zeros(2).double()),
            "tensor features.0.bias must be (2,) float32, got (2,)",
        ),
        (
            put("features.1.num_batches_tracked", torch.tensor(0.0)),
            "tensor features.1.num_batches_tracked must",
        ),
        (
            put("classifier.3.bias", torch.full((7,), torch.inf)),
            "tensor classifier.3.bias holds NaN or infinity",
        ),
        (put("classifier.0.weight", torch.zeros(8, 6)), "tensor classifier.0.weight is not part"),
        (
            drop("classifier.0.weight::mask"),
            "tensor classifier.0.weight: a bitmask has the parts mask and values",
        ),
        (put("classifier.0.weight::values", torch.zeros(2)), "tensor classifier.0.weight: the mask keeps 48"),
        (put("classifier.0.weight::more", torch.zeros(2)), "tensor classifier.0.weight: a bitmask has"),
        (put("classifier.3.weight::mask", torch.zeros(2)), "tensor classifier.3.weight::mask is not part"),
    ],
)
def test_a_wrong_tensor_is_named(good: Path, change: Callable[[Tensors, Block], None], named: str) -> None:
    assert named in refusal(rewritten(good, change))


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("format_version", 2, "description.format_version must be 1, got 2"),
        ("family", "resnet", "description.family must be 'vgg' or 'graph', got 'resnet'"),
        ("classes", ["a", "b"], "2 class names for 3 classes"),
        ("classes", "abc", "description.classes"),
        ("image_size", 64, "images of 64 px for a model of 32 px"),
        ("mean", [0.5, 0.5], "description.mean"),
        ("mean", [0.5, 0.5, float("nan")], "description.mean"),
        ("std", [0.5, 0.5, 0.0], "description.std.2 must be greater than 0"),
        ("spec", None, "description.spec"),
        ("spec", {}, "spec: arch: Field required"),
        (
            "encodings",
            {"classifier.0.weight": "zip"},
            "tensor classifier.0.weight: models.encodings must be one of",
        ),
        (
            "encodings",
            {"classifier.0.weight": "../x"},
            "tensor classifier.0.weight: models.encodings must be one",
        ),
        ("encodings", {"features.99.weight": "bitmask"}, "tensor features.99.weight"),
        ("encodings", {}, "tensor classifier.0.weight is missing"),
        ("author", "me", "description.author is unknown"),
    ],
)
def test_a_wrong_description_is_named(good: Path, key: str, value: Any, named: str) -> None:
    assert named in refusal(rewritten(good, lambda tensors, block: block.__setitem__(key, value)))


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("features", [3, 3, 4, 4, 5, 5, 6, 6], "tensor features.0.weight must be (3, 3, 3, 3)"),
        ("features", [1_000_000] * 8, "tensor features.0.weight must be"),
        ("hidden", [1_000_000, 7], "tensor classifier.0.weight: a mask of"),
        ("arch", "vgg13", "features: must be 10 widths"),
        ("image_size", 10**9, "image_size: Input should be less than or equal to 4096"),
        ("batch_norm", False, "tensor features.3.weight is missing"),
        ("classes", 0, "classes: Input should be greater than or equal to 1"),
    ],
)
def test_a_spec_that_the_tensors_do_not_bear_out_is_refused(good: Path, key: str, value: Any, named: str) -> None:
    assert named in refusal(rewritten(good, lambda tensors, block: block["spec"].__setitem__(key, value)))


@pytest.mark.parametrize("text", ["{", "[]", "null", "1", "[" * 100_000, '{"format_version": 1}'])
def test_a_description_that_is_none_is_refused(good: Path, text: str) -> None:
    save_file({"a": torch.zeros(1)}, good, metadata={"description": text})
    refusal(good)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_someone_elses_safetensors_file_is_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors", metadata=metadata)
    assert "no deepcompress checkpoint" in refusal(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", b"\xff" * 64, struct.pack("<Q", 2) + b"{}", pickle.dumps(Trap(Path("trap-was-sprung")))],
    ids=["empty", "zip", "noise", "no tensors", "pickle"],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    refusal(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.safetensors")
    assert "is a folder, and must be a file" in refusal(tmp_path)


def changed(stream: Path, change: Callable[[list[bytes]], list[bytes]]) -> Path:
    """The file with other records in its stream."""

    def put_records(tensors: Tensors, block: Block) -> None:
        content = records.join(change(records.split(tensors["coded"].numpy().tobytes())))
        tensors["coded"] = torch.from_numpy(np.frombuffer(bytearray(content), np.uint8))

    return rewritten(stream, put_records)


def test_a_stream_gives_back_the_model_and_its_integers(stream: Path, tiny: VGG) -> None:
    loaded = checkpoint.load(changed(stream, lambda parts: parts))
    state = loaded.model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in tiny.state_dict().items())
    assert list(loaded.integers) == ["classifier.0.weight"]
    with safe_open(stream, framework="pt") as stored:
        assert set(stored.keys()) == {"coded", "features.4.weight::mask", "features.4.weight::values"}
    assert loaded.description["encodings"] == {"*": "coded", "features.4.weight": "bitmask"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda parts: parts[:-1], "tensor coded holds"),
        (lambda parts: [*parts, b""], "tensor coded holds"),
        (lambda parts: [b"", *parts[1:]], "tensor classifier.0.bias: a record is cut off"),
        (
            lambda parts: [parts[1], parts[0], *parts[2:]],
            "tensor classifier.0.weight: damaged: its checksum is another",
        ),
    ],
)
def test_a_stream_of_other_records_is_refused(
    stream: Path, change: Callable[[list[bytes]], list[bytes]], named: str
) -> None:
    assert named in refusal(changed(stream, change))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (drop("coded"), "tensors named * must be coded, in a tensor coded"),
        (put("coded", torch.zeros(3)), "a stream must be uint8"),
        (put("features.0.weight", torch.zeros(1)), "tensor features.0.weight is not part"),
        (lambda tensors, block: block["encodings"].update({"*": "cast"}), "tensors named * must be coded"),
        (lambda tensors, block: block["encodings"].clear(), "is missing"),
        (lambda tensors, block: block["spec"].update(hidden=[10**6, 7]), "are not 1 x 1000000"),
    ],
)
def test_a_stream_that_the_description_does_not_bear_out_is_refused(
    stream: Path, change: Callable[[Tensors, Block], None], named: str
) -> None:
    assert named in refusal(rewritten(stream, change))
