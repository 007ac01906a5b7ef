"""Spoilt checkpoints and pretrained weights: read to the letter or refused in a line, whatever the encoding."""

import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import torch as safetensors_torch

from deepcompress import params
from deepcompress.models import checkpoint, weights
from deepcompress.models.encodings import coded
from deepcompress.models.quantized_weight import QuantizedWeight
from deepcompress.models.vgg import VGG
from tests import nets
from tests.faults.damage import below, fuzz, read_or_refused, spoilt
from tests.models.conftest import TINY

ENCODED = {"classifier.0.weight": "bitmask", "features.0.weight": "cast", "features.8.weight": "cast_sparse"}
DTYPES = ("BOOL", "U8", "I8", "I16", "I32", "I64", "U16", "U32", "U64", "F16", "BF16", "F32", "F64", "F8_E4M3",
          "F8_E5M2", "F4", "C64", "F99", "", 7, None)  # fmt: skip
ODD_JSON = (
    None, True, 0, -1, 1, 7, 10**9, 10**400, 1.5, float("nan"), float("inf"), "", "vgg11", "x" * 10_000, [], [1], {},
    [[]], ["a", "a", "a"], [1, 2, 3], [1.0, 2.0, 3.0], [10**30, 1, 1], {"a": 1}, {"classifier.0.weight": "coded"},
    {"features.0.weight": "_bits"}, {"features.0.weight": 3}, {"*": "coded"}, {"*": "cast"},
)  # fmt: skip


@pytest.fixture(scope="module", params=[False, True], ids=["tensors", "stream"])
def content(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> bytes:
    torch.manual_seed(0)
    model = VGG(TINY)
    encodings: dict[str, Any] = {}
    if request.param:
        weight = QuantizedWeight.quantize(model.classifier[0].weight.detach(), 4)
        model.classifier[0].weight.data = weight.dequantize()
        encodings["classifier.0.weight"] = checkpoint.Encoded("coded", coded.encode(weight))
    for name, encoding in ({} if request.param else ENCODED).items():
        codec, weight = params.plugin(checkpoint.ENCODINGS, encoding), model.get_parameter(name).detach()
        weight[weight.abs() < weight.std() / 2] = 0
        weight.copy_(codec.decode(codec.encode(weight), weight.shape, weight.dtype))
        encodings[name] = encoding
    path = tmp_path_factory.mktemp("good") / "model.safetensors"
    checkpoint.save(path, model, view=nets.VIEW, classes=("a", "b", "c"), provenance={}, encodings=encodings)
    return path.read_bytes()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file to spoil, in a folder where nothing else may appear."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    path = tmp_path / "work" / "model.safetensors"
    yield path
    assert set(below(tmp_path)) <= {"work/model.safetensors"}


def load(path: Path, content: bytes) -> str | None:
    path.write_bytes(content)
    return read_or_refused(lambda: checkpoint.load(path), naming=path)


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header as JSON, and the tensors' bytes."""
    end = 8 + struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:end]), content[end:]


def joined(header: Any, body: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def test_the_untouched_file_loads(content: bytes, place: Path) -> None:
    assert load(place, content) is None
    assert load(place, joined(*split(content))) is None


@fuzz(80)
@given(data=st.data())
def test_spoilt_bytes_anywhere_and_in_the_header(content: bytes, place: Path, data: st.DataObject) -> None:
    load(place, data.draw(spoilt(content)))
    header, body = split(content)
    load(place, joined(data.draw(spoilt(json.dumps(header).encode())), body))


@fuzz(80)
@given(data=st.data())
def test_a_tensor_of_another_type_shape_or_place(content: bytes, place: Path, data: st.DataObject) -> None:
    header, body = split(content)
    name = data.draw(st.sampled_from(sorted(set(header) - {"__metadata__"})))
    key = data.draw(st.sampled_from(("dtype", "shape", "data_offsets")))
    shape = st.lists(st.sampled_from((0, 1, 2, 3, 4, 8, -1, 2**31, 2**63, 2**64)), max_size=5)
    header[name][key] = data.draw(st.sampled_from(DTYPES) if key == "dtype" else shape)
    load(place, joined(header, body))


@fuzz(60)
@given(data=st.data())
def test_a_tensor_of_another_type_whose_bytes_fit(content: bytes, place: Path, data: st.DataObject) -> None:
    tensors = safetensors_torch.load(content)
    name = data.draw(st.sampled_from(sorted(tensors)))
    kinds = (torch.bool, torch.uint8, torch.int8, torch.int64, torch.float16, torch.bfloat16, torch.float64,
             torch.float8_e4m3fn, torch.complex64, torch.uint16)  # fmt: skip
    shape = data.draw(st.lists(st.integers(0, 9), max_size=4))
    tensors[name] = torch.ones(shape).to(data.draw(st.sampled_from(kinds)))
    metadata = split(content)[0]["__metadata__"]
    load(place, safetensors_torch.save(tensors, metadata=metadata))


@fuzz(100)
@given(data=st.data())
def test_a_description_with_odd_values(content: bytes, place: Path, data: st.DataObject) -> None:
    header, body = split(content)
    block = json.loads(header["__metadata__"]["description"])
    inside = data.draw(st.sampled_from((block, block["spec"])))
    inside[data.draw(st.sampled_from(sorted(inside)))] = data.draw(st.sampled_from(ODD_JSON))
    header["__metadata__"]["description"] = json.dumps(block)
    load(place, joined(header, body))


@pytest.fixture(scope="module")
def pretrained() -> bytes:
    torch.manual_seed(0)
    torch.save(VGG(TINY).state_dict(), stream := io.BytesIO())
    return stream.getvalue()


@fuzz(60)
@given(data=st.data())
def test_spoilt_pretrained_weights(pretrained: bytes, tmp_path: Path, data: st.DataObject) -> None:
    path, model = tmp_path / "vgg.pth", VGG(TINY)
    path.write_bytes(data.draw(spoilt(pretrained)))
    before = nets.state(model)
    if read_or_refused(lambda: weights.load_pretrained_(model, path), naming=path):
        assert nets.same(before, model.state_dict())
