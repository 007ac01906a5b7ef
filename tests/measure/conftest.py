"""A tiny project: held-out images of three classes, a plan, and a maker of models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from deepcompress import runtime
from deepcompress.data.batches import View
from deepcompress.data.store import write_fit, write_heldout
from deepcompress.models import checkpoint
from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG
from tests import plans
from tests.data import inputs


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with data/heldout and scratch of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(runtime.SCRATCH_VARIABLE, str(tmp_path / ".scratch"))
    source = inputs.source(train=12, test=9)
    meta = write_fit(tmp_path / "data/fit", source, validation_fraction=0.25, seed=0)
    write_heldout(tmp_path / "data/heldout", source, meta=meta)
    return tmp_path


@pytest.fixture
def plan(project: Path) -> Callable[..., Path]:
    """Write a plan of these model ids."""

    def write(*models: str) -> Path:
        return plans.write(project / "results/plan.csv", models)

    return write


@pytest.fixture
def add_model(project: Path) -> Callable[..., Path]:
    """Save a tiny network under a model id; another number, other weights."""

    def save(model: str, number: int = 0, classes: tuple[str, ...] = inputs.CLASSES) -> Path:
        spec = VGGSpec("vgg11", False, (2, 2, 3, 3, 4, 4, 4, 4), (5, 5), len(classes), 32, 0.5)
        torch.manual_seed(number)
        path = project / "models" / f"{model}.safetensors"
        view = View(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        provenance = checkpoint.provenance("test", seed=number, params={})
        checkpoint.save(path, VGG(spec), view=view, classes=classes, provenance=provenance)
        return path

    return save
