"""The train_teacher stage: a teacher under its name, the same bytes twice, and mistakes in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result

from deepcompress import runtime
from deepcompress.data.store import write_fit
from deepcompress.models import checkpoint
from stages import train_teacher
from tests.data.inputs import CLASSES, source

RECIPE: dict[str, Any] = {"trainable": "all", "epochs": 2, "batch_size": 16, "optimizer": "adamw"}
RECIPE |= {"learning_rate": 0.001, "weight_decay": 0.05, "schedule": "one_cycle"}
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}


def network(arch: str, **recipe: Any) -> dict[str, Any]:
    shape = {"arch": arch, "batch_norm": True, "width": 0.0625, "hidden": 128, "dropout": 0.2, "image_size": 32}
    return {**shape, "weights": None, "recipe": {**RECIPE, **recipe}}


PARAMS: dict[str, Any] = {
    "seed": 1,
    "train": {"device": "cpu", "precision": "32-true"},
    "teachers": {
        "vgg16": network("vgg16"),
        "vgg16_jitter": network("vgg16", augment={"jitter": JITTER}),
        "broken": {**network("vgg16"), "heads": 2},
    },
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Params, 48 images, and scratch of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(runtime.SCRATCH_VARIABLE, str(tmp_path / ".scratch"))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    write_fit(tmp_path / "data/fit", source(train=60, size=32), validation_fraction=0.2, seed=0)
    return tmp_path


def run(name: str, folder: str = "models") -> Result:
    paths = {"fit": "data/fit", "model": f"{folder}/{name}.safetensors", "history": f"{folder}/{name}.csv"}
    options = [word for option, value in paths.items() for word in (f"--{option}", value)]
    return CliRunner().invoke(train_teacher.main, ["--key", f"teachers.{name}", *options])


def test_the_teacher_is_what_its_block_says_in_the_same_bytes_each_time(project: Path) -> None:
    written = []
    for _ in range(2):
        done = run("vgg16")
        assert done.exit_code == 0, done.output
        written.append([Path(f"models/vgg16{end}").read_bytes() for end in (".safetensors", ".csv")])
    assert written[0] == written[1]
    loaded = checkpoint.load("models/vgg16.safetensors")
    assert (loaded.model.spec.arch, loaded.model.spec.features[0]) == ("vgg16", 4)
    assert loaded.classes == CLASSES
    assert loaded.provenance["stage"] == "train_teacher"
    assert loaded.provenance["params"]["teachers.vgg16"]["recipe"]["learning_rate"] == 0.001
    assert pd.read_csv("models/vgg16.csv")["epoch"].tolist() == [1, 2]
    assert not list(project.glob(".scratch/train_teacher/*"))


def test_colour_jitter_alone_makes_another_teacher(project: Path) -> None:
    for name in ("vgg16", "vgg16_jitter"):
        assert run(name).exit_code == 0
    plain, jittered = (pd.read_csv(f"models/{name}.csv")["train_loss"] for name in ("vgg16", "vgg16_jitter"))
    assert (plain != jittered).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vgg12", "error: params.yaml: teachers.vgg12 is missing"),
        ("broken", "error: params.yaml: teachers.broken.heads is unknown; allowed: arch, "),
    ],
)
def test_a_mistake_ends_in_one_line(project: Path, name: str, message: str) -> None:
    done = run(name)
    assert done.exit_code == 2
    assert done.output.splitlines()[-1].startswith(message)
    assert not Path("models").exists()
