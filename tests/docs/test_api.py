"""docs/api.md: every block of it runs as it stands, in order, on a few tiny photographs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import deepcompress
from deepcompress import api
from deepcompress.deploy.classifier import OnnxClassifier
from deepcompress.measure import cost
from tests.docs import pages
from tests.house import ROOT

PAGE = (pages.DOCS / "api.md").read_text(encoding="utf-8")
BLOCKS = [found["body"] for found in pages.FENCE.finditer(PAGE) if found["language"] == "python"]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page's code leaves behind, run in a folder without params.yaml but with photos/."""
    folder, random = tmp_path_factory.mktemp("notebook"), np.random.default_rng(0)
    for name, brightness in (("dark", 40), ("light", 200)):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = np.clip(random.normal(brightness, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number}.png")
    names: dict[str, Any] = {"folder": folder}
    before = Path.cwd()
    os.chdir(folder)
    try:
        for block in BLOCKS:
            exec(block, names)
    finally:
        os.chdir(before)
    return names


def test_every_function_is_on_the_page() -> None:
    assert {name for name in deepcompress.__all__ if f"dc.{name}(" in PAGE} == set(deepcompress.__all__)
    assert api.OWN == ROOT / "params.yaml"


def test_the_steps_do_what_the_page_says(said: dict[str, Any]) -> None:
    dense, sparse, narrow, small = (said[name] for name in ("dense", "sparse", "narrow", "small"))
    counts = {name: cost.parameters(said[name].model) for name in ("dense", "sparse", "narrow", "small", "again")}
    assert counts["sparse"]["nonzero"] == pytest.approx(0.2 * counts["dense"]["weights"], rel=1e-3)
    assert counts["again"]["nonzero"] <= counts["sparse"]["nonzero"]
    assert counts["small"]["nonzero"] <= counts["sparse"]["nonzero"]
    assert counts["narrow"]["weights"] < counts["dense"]["weights"]
    assert {weight.bits for weight in small.integers.values()} == {4}
    assert {weight.bits for weight in said["trained"].integers.values()} == {3}
    sizes = [deepcompress.size_report(model)["file_bytes"] for model in (dense, sparse, small)]
    assert sizes[0] > 3 * sizes[1] > 9 * sizes[2]
    assert dense.provenance["params"]["finetune"]["epochs"] == 2
    assert len(said["fresh"].tables["history"]) == len(sparse.tables["history"]) == 1
    assert narrow.classes == said["fresh"].classes == ("dark", "light")


def test_what_is_saved_is_what_was_held(said: dict[str, Any]) -> None:
    for name in ("dense", "sparse", "small", "again"):
        kept, loaded = said[name], deepcompress.load(said["folder"] / f"{name}.safetensors")
        assert loaded.content == kept.content
    for name, bits in (("small.onnx", 4), ("small_int8.onnx", 8)):
        assert OnnxClassifier(said["folder"] / name).contract.classes == ("dark", "light"), bits
