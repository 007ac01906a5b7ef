"""The wrapper of torchao: silent at import, loaded late, equal to arithmetic by hand."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
import torch

from deepcompress.quantization import _torchao
from tests import house


def test_the_scale_that_clips_nothing_uses_the_odd_negative_value() -> None:
    grouped = torch.tensor([[[-8.0, 1.0], [0.0, 3.5]], [[7.0, -7.0], [0.0, 0.0]]])
    assert _torchao.scales(grouped, 4).tolist() == [[1.0, 0.5], [1.0, _torchao.SMALLEST_SCALE]]


def test_ties_go_to_even_multiples() -> None:
    grouped = torch.tensor([[[0.5, 1.5, -0.5, -2.5]]])
    assert _torchao.rounded(grouped, torch.ones(1, 1), 4).tolist() == [[[0.0, 2.0, 0.0, -2.0]]]


def test_a_few_rows_at_a_time_give_what_all_at_once_give(monkeypatch: pytest.MonkeyPatch) -> None:
    grouped = torch.randn(7, 3, 5, generator=torch.Generator().manual_seed(0))
    scales = _torchao.scales(grouped, 3).half()
    at_once = _torchao.rounded(grouped, scales, 3)
    monkeypatch.setattr(_torchao, "WEIGHTS_AT_ONCE", 20)
    assert torch.equal(_torchao.rounded(grouped, scales, 3), at_once)


def test_torchao_is_loaded_at_the_first_use_and_says_nothing() -> None:
    code = """
import logging, sys
logging.basicConfig(level=logging.INFO)
import deepcompress.quantization.run, torch
from deepcompress.quantization import _torchao
print("torchao" in sys.modules)
_torchao.scales(torch.ones(1, 1, 2), 4)
print("torchao" in sys.modules)
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "True"]
    assert shown.stderr == ""


def test_no_other_module_of_ours_knows_torchao() -> None:
    exempt = {"_torchao.py", "pte.py"}  # ExecuTorch's files are quantized by torchao's export flow, an optional group
    for path in house.modules():
        if path.name not in exempt:
            names = {
                name
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                for name in (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module or ""]
                    if isinstance(node, ast.ImportFrom)
                    else []
                )
            }
            assert not any(name.split(".")[0] == "torchao" for name in names), path
