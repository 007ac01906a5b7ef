"""The benchmarks of coded integers: entropy as by hand, coders that lose nothing, a table per model, vectors apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks import coding, vectors
from deepcompress.data.batches import View
from deepcompress.errors import UserError
from deepcompress.models import checkpoint
from deepcompress.models.encodings import coded
from deepcompress.quantization.quantize import round_vectors_

if TYPE_CHECKING:
    pass

LAYERS = {"conv": np.tile(np.array([-1, 0, 0, 1], np.int8), (8, 50)), "linear": np.zeros((4, 6), np.int8)}


def saved(path: Path, *, integers: bool) -> checkpoint.Checkpoint:
    """A small network on disk, with its vectors in float16 if in integers."""
    model, quantized = coding.full_width(16, width=16)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_mean, -1, 1)
    if integers:
        round_vectors_(model)
    encodings = {name: checkpoint.Encoded("coded", coded.encode(weight)) for name, weight in quantized.items()}
    view, classes = View(32, (0.5,) * 3, (0.25,) * 3), tuple(map(str, range(100)))
    chosen = encodings if integers else {}
    checkpoint.save(path, model, view=view, classes=classes, provenance={}, encodings=chosen)
    return checkpoint.load(path)


def test_entropy_is_the_sum_of_the_layers() -> None:
    assert coding.entropy_bytes(LAYERS.values()) == pytest.approx(1.5 * 1600 / 8)  # halves of zeros; a constant: none


def test_a_line_per_model_and_the_loads(tmp_path: Path) -> None:
    saved(tmp_path / "int4.safetensors", integers=True)
    np.savez(tmp_path / "layers.npz", **LAYERS)
    shown = CliRunner().invoke(coding.main, [str(tmp_path / "int4.safetensors"), str(tmp_path / "layers.npz")])
    assert shown.exit_code == 0, shown.output
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown.output.splitlines()]
    assert {len(line) for line in lines} == {len(coding.HEADER + coding.TIMES)}
    assert [line[-1] for line in lines[2:]] == ["yes", "yes"]
    assert int(lines[2][7].replace(",", "")) > int(lines[2][6].replace(",", ""))  # scales come on top


def test_files_without_integers_are_named(tmp_path: Path) -> None:
    saved(tmp_path / "fp32.safetensors", integers=False)
    np.savez(tmp_path / "floats.npz", conv=np.zeros((2, 2), np.float32))
    for name, why in {"fp32.safetensors": "no weight is stored as integers", "floats.npz": "conv must be int8"}.items():
        shown = CliRunner().invoke(coding.main, [str(tmp_path / name)])
        assert shown.exit_code == 2
        assert f"{name}: {why}" in shown.output


def test_vectors_are_put_back_into_the_model_they_come_from_only(tmp_path: Path) -> None:
    rounded = saved(tmp_path / "int4.safetensors", integers=True)
    source = saved(tmp_path / "fp32.safetensors", integers=False)
    means = [value.clone() for name, value in source.model.state_dict().items() if name.endswith("running_mean")]
    found = vectors.with_float32(rounded, source).model.state_dict()
    assert all(map(torch.equal, means, [value for name, value in found.items() if name.endswith("running_mean")]))
    next(module for module in source.model.modules() if isinstance(module, torch.nn.BatchNorm2d)).bias.data += 1
    with pytest.raises(UserError, match="another model"):
        vectors.with_float32(rounded, source)
