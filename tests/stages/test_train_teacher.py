"""The train_teacher stage: a teacher under its name, the same bytes twice, and mistakes in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import Result

from deepcompress.data.store import write_fit
from deepcompress.models import checkpoint
from stages import train_teacher
from tests.data.inputs import CLASSES, source
from tests.stages.commands import invoke, network, refused, write_params

JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}


TEACHERS: dict[str, Any] = {
    "vgg16": network("vgg16"),
    "vgg16_jitter": network("vgg16", augment={"jitter": JITTER}),
    "broken": {**network("vgg16"), "heads": 2},
}


@pytest.fixture
def project(project: Path) -> Path:
    """Params and 48 images."""
    write_params(teachers=TEACHERS)
    write_fit(project / "data/fit", source(train=60, size=32), validation_fraction=0.2, seed=0)
    return project


def run(name: str, folder: str = "models") -> Result:
    paths = {"model": f"{folder}/{name}.safetensors", "history": f"{folder}/{name}.csv"}
    return invoke(train_teacher.main, key=f"teachers.{name}", fit="data/fit", **paths)


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
        ("vgg12", "params.yaml: teachers.vgg12 is missing"),
        ("broken", "params.yaml: teachers.broken.heads is unknown; allowed: arch, "),
    ],
)
def test_a_mistake_ends_in_one_line(project: Path, name: str, message: str) -> None:
    refused(run(name), message)
    assert not Path("models").exists()
