"""Checkpoints: equal models give equal bytes, what was saved comes back, and what is damaged ends in one line."""

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
from safetensors import torch as safetensors_torch

from deepcompress import code_hash
from deepcompress.data.batches import View
from deepcompress.errors import UserError
from deepcompress.models import checkpoint, records
from deepcompress.models.build import build
from deepcompress.models.checkpoint import Encoded
from deepcompress.models.encodings import bitmask, coded
from deepcompress.models.quantized_weight import QuantizedWeight
from deepcompress.models.spec import GraphSpec
from deepcompress.models.vgg import VGG, Classifier, prunable_layers
from tests.faults.damage import Trap
from tests.nets import same

VIEW = View(size=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
CLASSES = ("disc", "Ring", "étoile")
PROVENANCE = {"stage": "finetune", "seed": 0, "params": {"epochs": 3, "learning_rate": 1e-3}, "versions": {}}
HIDDEN, MASKED = "classifier.0.weight", "features.4.weight"

Tensors = dict[str, torch.Tensor]
Block = dict[str, Any]
Change = Callable[[Tensors, Block], object]


def save(path: Path, model: Classifier, **changes: Any) -> bytes:
    checkpoint.save(path, model, **{"view": VIEW, "classes": CLASSES, "provenance": PROVENANCE, **changes})
    return path.read_bytes()


def header(path: Path) -> Block:
    with safe_open(path, framework="pt") as stored:
        metadata = stored.metadata()
    assert list(metadata) == ["description"]
    return dict(json.loads(metadata["description"]))


def bitmasks(model: VGG) -> dict[str, str]:
    return {f"{name}.weight": "bitmask" for name in prunable_layers(model)}


def test_what_was_saved_comes_back_without_random_numbers_and_ready_to_train(tiny: VGG, tmp_path: Path) -> None:
    images = torch.randn(2, 3, 32, 32)
    tiny(images)  # moves the batch norms' statistics
    save(tmp_path / "a/model.safetensors", tiny)
    before = torch.get_rng_state()
    loaded = checkpoint.load(tmp_path / "a/model.safetensors")
    assert torch.equal(before, torch.get_rng_state())
    assert loaded.model.spec == tiny.spec
    assert loaded.description == header(tmp_path / "a/model.safetensors")
    assert (loaded.description["format_version"], loaded.description["spec"]) == (1, tiny.spec.to_dict())
    assert list(loaded.model.state_dict()) == list(tiny.state_dict())
    assert same(loaded.model.state_dict(), tiny.state_dict())
    assert (loaded.view, loaded.classes, loaded.provenance) == (VIEW, CLASSES, PROVENANCE)
    assert torch.equal(loaded.model(images), tiny.eval()(images)), "not in training mode"
    loaded.model.train()(images).sum().backward()
    assert all(parameter.grad is not None for parameter in loaded.model.parameters())


def test_a_loaded_model_outlives_its_file(tiny: VGG, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    content = save(path, tiny)
    model = checkpoint.load(path).model
    path.write_bytes(b"\xff" * len(content))  # in place: a mapped tensor would change with it
    assert torch.equal(model.state_dict()[HIDDEN], tiny.state_dict()[HIDDEN])


def test_the_same_model_gives_the_same_bytes(tiny: VGG, tmp_path: Path) -> None:
    content = save(tmp_path / "a", tiny)
    assert save(tmp_path / "b", tiny.to(memory_format=torch.channels_last)) == content
    again = checkpoint.load(tmp_path / "a")
    reordered = dict(reversed(again.provenance.items()))
    assert save(tmp_path / "c", again.model, provenance=reordered) == content
    orders = [bitmasks(tiny), dict(reversed(bitmasks(tiny).items()))] * 3  # a hash map inside would show up here
    assert len({save(tmp_path / "model", tiny, encodings=order) for order in orders}) == 1


def test_a_model_made_from_another_is_saved_with_its_view_and_classes(tiny: VGG, tmp_path: Path) -> None:
    save(tmp_path / "one.safetensors", tiny)
    first = checkpoint.load(tmp_path / "one.safetensors")
    with torch.no_grad():
        first.model.classifier[0].weight[1:] = 0
    origin = checkpoint.provenance("prune", seed=1, params={})
    first.save_alike(tmp_path / "two.safetensors", first.model, origin, {HIDDEN: "bitmask"})
    second = checkpoint.load(tmp_path / "two.safetensors")
    assert (second.view, second.classes, second.provenance) == (first.view, first.classes, origin)
    assert same(second.model.state_dict(), first.model.state_dict())
    assert second.description["encodings"] == {HIDDEN: "bitmask"}


LOSSY = Encoded("bitmask", bitmask.encode(torch.ones(8, 6)))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"classes": ("a", "b")}, "2 class names for 3 classes"),
        ({"view": View(size=64, mean=VIEW.mean, std=VIEW.std)}, "64 px for a model of 32 px"),
        ({"view": View(size=32, mean=VIEW.mean, std=(1.0, 0.0, 1.0))}, "std"),
        ({"provenance": {"seed": np.zeros(1)}}, "serialize"),
        ({"encodings": {"features.99.weight": "bitmask"}}, r"features\.99\.weight"),
        ({"encodings": {HIDDEN: LOSSY}}, r"does not give back the values of tensor classifier\.0\.weight"),
    ],
)
def test_arguments_that_disagree_are_refused(tiny: VGG, tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises((ValueError, UserError), match=named):
        save(tmp_path / "model", tiny, **changes)
    assert not list(tmp_path.iterdir())


def test_a_model_that_diverged_is_refused(tiny: VGG, tmp_path: Path) -> None:
    with torch.no_grad():
        tiny.classifier[3].bias[0] = float("nan")
    with pytest.raises(UserError, match=r"tensor classifier\.3\.bias holds NaN or infinity"):
        save(tmp_path / "model", tiny)


# A damaged or dishonest file ends in one line naming the file and the tensor, not in a traceback.


@pytest.fixture
def good(tiny: VGG, tmp_path: Path) -> Path:
    save(tmp_path / "model.safetensors", tiny, encodings={HIDDEN: "bitmask"})
    return tmp_path / "model.safetensors"


@pytest.fixture
def stream(tiny: VGG, tmp_path: Path) -> Path:
    """A file that holds all its tensors but one in one stream."""
    weight = QuantizedWeight.quantize(tiny.classifier[0].weight.detach(), 4)
    tiny.classifier[0].weight.data = weight.dequantize()
    save(tmp_path / "s", tiny, encodings={HIDDEN: Encoded("coded", coded.encode(weight)), MASKED: "bitmask"})
    return tmp_path / "s"


def rewritten(good: Path, change: Change) -> Path:
    tensors, block = safetensors_torch.load_file(good), header(good)
    change(tensors, block)
    bad = good.with_name("bad.safetensors")
    bad.write_bytes(safetensors_torch.save(tensors, metadata={"description": json.dumps(block)}))
    return bad


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        checkpoint.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def put(name: str, tensor: torch.Tensor) -> Change:
    return lambda tensors, block: tensors.update({name: tensor})


def drop(name: str) -> Change:
    return lambda tensors, block: tensors.pop(name)


def say(**values: Any) -> Change:
    return lambda tensors, block: block.update(values)


def spec(**values: Any) -> Change:
    return lambda tensors, block: block["spec"].update(values)


WRONG_TENSORS = [
    (drop("features.1.running_mean"), "tensor features.1.running_mean is missing"),
    (put("features.99.weight", torch.zeros(1)), "tensor features.99.weight is not part of the model"),
    (put("features.0.weight", torch.zeros(2, 3, 5, 5)), "tensor features.0.weight must be (2, 3, 3, 3)"),
    (put("features.0.bias", torch.zeros(2).double()), "tensor features.0.bias must be (2,) float32, got (2,)"),
    (put("features.1.num_batches_tracked", torch.tensor(0.0)), "tensor features.1.num_batches_tracked must"),
    (put("classifier.3.bias", torch.full((7,), torch.inf)), "tensor classifier.3.bias holds NaN or infinity"),
    (put(HIDDEN, torch.zeros(8, 6)), "tensor classifier.0.weight is not part"),
    (drop("classifier.0.weight::mask"), "tensor classifier.0.weight: a bitmask has the parts mask and values"),
    (put("classifier.0.weight::values", torch.zeros(2)), "tensor classifier.0.weight: the mask keeps 48"),
    (put("classifier.0.weight::more", torch.zeros(2)), "tensor classifier.0.weight: a bitmask has"),
    (put("classifier.3.weight::mask", torch.zeros(2)), "tensor classifier.3.weight::mask is not part"),
]
WRONG_DESCRIPTIONS = [
    (say(format_version=2), "description.format_version must be 1, got 2"),
    (say(family="resnet"), "description.family must be 'vgg' or 'graph', got 'resnet'"),
    (say(classes=["a", "b"]), "2 class names for 3 classes"),
    (say(classes="abc"), "description.classes"),
    (say(image_size=64), "images of 64 px for a model of 32 px"),
    (say(mean=[0.5, 0.5]), "description.mean"),
    (say(mean=[0.5, 0.5, float("nan")]), "description.mean"),
    (say(std=[0.5, 0.5, 0.0]), "description.std.2 must be greater than 0"),
    (say(spec=None), "description.spec"),
    (say(spec={}), "spec: arch: Field required"),
    (say(encodings={HIDDEN: "zip"}), "tensor classifier.0.weight: models.encodings must be one of"),
    (say(encodings={"features.99.weight": "bitmask"}), "tensor features.99.weight"),
    (say(encodings={}), "tensor classifier.0.weight is missing"),
    (say(author="me"), "description.author is unknown"),
]
WRONG_SPECS = [  # that the tensors do not bear out
    (spec(features=[3, 3, 4, 4, 5, 5, 6, 6]), "tensor features.0.weight must be (3, 3, 3, 3)"),
    (spec(features=[1_000_000] * 8), "tensor features.0.weight must be"),
    (spec(hidden=[1_000_000, 7]), "tensor classifier.0.weight: a mask of"),
    (spec(arch="vgg13"), "features: must be 10 widths"),
    (spec(image_size=10**9), "image_size: Input should be less than or equal to 4096"),
    (spec(batch_norm=False), "tensor features.3.weight is missing"),
]


@pytest.mark.parametrize(("change", "named"), [*WRONG_TENSORS, *WRONG_DESCRIPTIONS, *WRONG_SPECS])
def test_what_is_wrong_in_a_file_is_named(good: Path, change: Change, named: str) -> None:
    assert named in refusal(rewritten(good, change))


def stored(**metadata: str) -> bytes:
    return safetensors_torch.save({"a": torch.zeros(1)}, metadata=metadata or None)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        *((stored(description=text), "description") for text in ("{", "[]", "null", "1", "[" * 10**5, '{"spec": 1}')),
        *((content, "no deepcompress checkpoint") for content in (stored(), stored(format="pt"))),
        (struct.pack("<Q", 2) + b"{}", "no deepcompress checkpoint"),
        *((content, "not a whole safetensors file") for content in (b"", b"PK\x03\x04", b"\xff" * 64)),
        (pickle.dumps(Trap(Path("trap-was-sprung"))), "not a whole safetensors file"),
    ],
    ids=range(13),
)
def test_what_is_no_checkpoint_is_refused(
    tmp_path: Path, content: bytes, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert named in refusal(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.safetensors")
    assert "is a folder, and must be a file" in refusal(tmp_path)


def with_records(change: Callable[[list[bytes]], list[bytes]]) -> Change:
    """Other records in the stream."""

    def put_records(tensors: Tensors, block: Block) -> None:
        content = records.join(change(records.split(tensors["coded"].numpy().tobytes())))
        tensors["coded"] = torch.from_numpy(np.frombuffer(bytearray(content), np.uint8))

    return put_records


def test_a_stream_gives_back_the_model_and_its_integers(stream: Path, tiny: VGG) -> None:
    loaded = checkpoint.load(rewritten(stream, with_records(lambda parts: parts)))
    assert same(loaded.model.state_dict(), tiny.state_dict())
    assert list(loaded.integers) == [HIDDEN]
    assert safetensors_torch.load_file(stream).keys() == {"coded", f"{MASKED}::mask", f"{MASKED}::values"}
    assert loaded.description["encodings"] == {"*": "coded", MASKED: "bitmask"}


def test_a_stream_leaves_tensors_of_other_types_beside_it(tmp_path: Path) -> None:
    model, path = build(GraphSpec("tests.odd_nets:switched", 3, 32)), tmp_path / "switched.safetensors"
    rounded = QuantizedWeight.quantize(model.layers[1].weight.detach(), 4)
    with torch.no_grad():
        model.layers[1].weight.copy_(rounded.dequantize())
    encodings = {"layers.1.weight": Encoded("coded", coded.encode(rounded))}
    save(path, model, encodings=encodings)
    assert same(checkpoint.load(path).model.state_dict(), model.state_dict())
    assert safetensors_torch.load_file(path).keys() == {"coded", "switch"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (with_records(lambda parts: parts[:-1]), "tensor coded holds"),
        (with_records(lambda parts: [b"", *parts[1:]]), "tensor classifier.0.bias: a record is cut off"),
        (with_records(lambda parts: [parts[1], parts[0], *parts[2:]]), "weight: damaged: its checksum is another"),
        (drop("coded"), "tensors named * must be coded, in a tensor coded"),
        (put("coded", torch.zeros(3)), "a stream must be uint8"),
        (put("features.0.weight", torch.zeros(1)), "tensor features.0.weight is not part"),
        (lambda tensors, block: block["encodings"].update({"*": "cast"}), "tensors named * must be coded"),
        (lambda tensors, block: block["encodings"].clear(), "is missing"),
        (spec(hidden=[10**6, 7]), "are not 1 x 1000000"),
    ],
)
def test_what_is_wrong_in_a_stream_is_named(stream: Path, change: Change, named: str) -> None:
    assert named in refusal(rewritten(stream, change))


def test_other_code_of_an_own_network_makes_another_file_of_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    code = (
        "from torch import nn\ndef make(classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(3072, classes))\n"
    )
    files = []
    for text in (code, code + "# fast\n", code.replace("return ", "layer = 1\n    return ")):
        (tmp_path / "ownnet_of_checkpoints.py").write_text(text)
        code_hash.digest.cache_clear()
        torch.manual_seed(0)
        files.append(save(tmp_path / "m", build(GraphSpec("ownnet_of_checkpoints:make", len(CLASSES), 32))))
    assert files[0] == files[1] != files[2]
    assert checkpoint.load(tmp_path / "m").provenance.keys() == {*PROVENANCE, checkpoint.OWN_CODE}
