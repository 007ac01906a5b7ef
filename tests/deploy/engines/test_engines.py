"""A contract over all engines: the checkpoint's own answers, or None; and what torchao's tensors hold."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from deepcompress import params
from deepcompress.deploy.benchmark import ENGINES, available
from deepcompress.deploy.engines import openvino, pytorch, torchao
from deepcompress.deploy.integers import Deployable
from deepcompress.deploy.settings import Deploy
from deepcompress.errors import UserError
from deepcompress.models import checkpoint
from deepcompress.models.quantized_weight import QuantizedWeight
from tests.deploy.conftest import DEPLOY, META, coloured, network, save
from tests.faults.damage import largest_file

SLOW = {"torch_compile"}  # compiles C++ for each model and batch size
ALL = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in params.plugins(ENGINES)]


@pytest.fixture
def deployable(project: Path) -> Any:
    def make(bits: int | None, group_size: int | None = None) -> Deployable:
        path = project / f"{bits}.safetensors"
        save(path, network(), bits=bits, group_size=group_size)
        return Deployable(path, coloured(8, 64, 32), META, Deploy(**DEPLOY), project)

    return make


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # ExecuTorch calls what Python is about to drop
@pytest.mark.parametrize("bits", [None, 4, 8])
@pytest.mark.parametrize("name", ALL)
def test_an_engine_gives_the_checkpoint_s_answers_or_has_no_form_of_it(deployable: Any, name: str, bits: int) -> None:
    engine = params.plugin(ENGINES, name)
    if (why := engine.missing()) is not None:
        pytest.skip(why)
    assert engine.FLOAT_FORM in params.plugins(ENGINES)
    model = deployable(bits)
    call = engine.load(model)
    integers = {"onnxruntime_int4": bits == 4, "torchao": bits is not None}
    expected = integers.get(name, bits is not None if "int8" in name else True)
    assert (call is not None) == expected
    if call is not None:
        wanted, given = pytorch.load(model)(model.calibration[:32]), call(model.calibration[:32])
        assert given.shape == wanted.shape
        agreement = (given.argmax(1) == wanted.argmax(1)).mean()
        assert agreement >= (0.8 if "int" in name else 1.0)


def test_what_is_not_installed_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "missing", lambda: "openvino is not installed; `uv sync --group openvino` adds it")
    here, left_out = available(("pytorch", "openvino"))
    assert list(here) == ["pytorch"]
    assert left_out == {"openvino": "openvino is not installed; `uv sync --group openvino` adds it"}
    with pytest.raises(UserError, match=r"benchmark\.engines must be one of .*; got 'tpu'"):
        available(("tpu",))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize(
    ("shape", "group_size"),
    [((6, 8), None), ((6, 64), 32), ((6, 4, 3, 3), None), ((6, 8, 3, 3), 36), ((6, 8, 1, 1), 4)],
)
def test_torchao_s_tensors_dequantize_to_the_same_bits(
    bits: int, shape: tuple[int, ...], group_size: int | None
) -> None:
    pytest.importorskip("torchao")
    torch.manual_seed(0)
    layer = nn.Linear(shape[1], shape[0]) if len(shape) == 2 else nn.Conv2d(shape[1], shape[0], shape[2:])
    weight = QuantizedWeight.quantize(torch.randn(shape), bits, group_size)
    layer.weight.data = weight.dequantize()
    converted, floats = torchao.with_tensors(nn.Sequential(layer), {"0.weight": weight})
    assert floats == []
    assert torch.equal(converted[0].weight.dequantize(), weight.dequantize())
    pixels = torch.randn(2, shape[1], *((5, 5) if len(shape) == 4 else ()))
    assert torch.equal(converted(pixels), layer(pixels))


def test_groups_that_are_no_boxes_stay_float() -> None:
    uneven = QuantizedWeight.quantize(torch.randn(6, 8, 3, 3), 4, 32)
    assert torchao.block_size(uneven) is None
    short = QuantizedWeight.quantize(torch.randn(6, 27), 4, 16)  # 14 and 13
    assert torchao.block_size(short) is None


def test_a_written_state_comes_back_bit_by_bit(tmp_path: Path) -> None:
    pytest.importorskip("torchao")
    source, out = tmp_path / "m.safetensors", tmp_path / "m.pt"
    save(source, network(), bits=4)
    with largest_file(900), pytest.raises(OSError, match=r"File too large: '.+m\.pt'"):
        torchao.write(source, out)
    assert torchao.write(source, out) == []
    loaded, again = checkpoint.load(source), network()
    again.load_state_dict(torch.load(out, weights_only=True), assign=True)
    for name, weight in loaded.integers.items():
        tensor = again.get_parameter(name)
        assert type(tensor.data).__name__ == "IntxUnpackedToInt8Tensor"
        assert torch.equal(tensor.dequantize(), weight.dequantize())
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(again.eval()(images), loaded.model.eval()(images))
    save(source, network())
    with pytest.raises(UserError, match=r"m\.safetensors: is not quantized to integers"):
        torchao.write(source, out)
    assert np.array_equal(list(tmp_path.glob("*.pt")), [out])
