"""A tiny project: held-out images of three classes, a plan, and a maker of models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deepcompress import runtime
from deepcompress.data.store import write_fit, write_heldout
from tests import plans
from tests.data import inputs
from tests.stages.commands import save_vgg


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
        path = project / "models" / f"{model}.safetensors"
        save_vgg(path, (2, 2, 3, 3, 4, 4, 4, 4), (5, 5), seed=number, classes=classes)
        return path

    return save
