"""What the tests of stages share: params.yaml, images, models, a command with its options, and how one refuses."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click import Command
from click.testing import CliRunner, Result

from deepcompress.data.batches import View
from deepcompress.data.store import Meta, write_fit
from deepcompress.models import checkpoint
from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG
from deepcompress.training import loop
from tests.data.inputs import CLASSES, source
from tests.nets import RECIPE, VIEW

TRAIN = {"device": "cpu", "precision": "32-true"}
SHAPE = {"batch_norm": True, "width": 0.0625, "hidden": 128, "dropout": 0.2, "image_size": 32, "weights": None}


def network(arch: str, **recipe: Any) -> dict[str, Any]:
    """A tiny network's block of params.yaml, with its recipe."""
    return {"arch": arch, **SHAPE, "recipe": {**RECIPE, **recipe}}


def write_params(folder: Path = Path(), *, seed: int = 1, **sections: Any) -> None:
    """Write params.yaml of a folder."""
    document = {"seed": seed, "train": TRAIN, **sections}
    (folder / "params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def write_images(folder: Path = Path()) -> Meta:
    """48 training and 12 validation images in data/fit."""
    return write_fit(folder / "data/fit", source(train=60, size=32), validation_fraction=0.2, seed=0)


def save_vgg(
    path: str | Path,
    widths: tuple[int, ...],
    hidden: tuple[int, int] = (8, 8),
    *,
    seed: int = 0,
    classes: tuple[str, ...] = CLASSES,
    view: View = VIEW,
) -> VGG:
    """Write a VGG of 8 or 13 convolutions with random weights, none of which copy."""
    torch.manual_seed(seed)
    arch = {8: "vgg11", 13: "vgg16"}[len(widths)]
    model = VGG(VGGSpec(arch, True, widths, hidden, len(classes), 32, 0.5))
    for layer in model.features:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    checkpoint.save(path, model, view=view, classes=classes, provenance={})
    return model


def invoke(command: Command, *words: str, **options: str) -> Result:
    """Run a stage's command; `per_class="a"` is the option `--per-class a`, other words come as they are."""
    named = [word for option, value in options.items() for word in (f"--{option.replace('_', '-')}", value)]
    return CliRunner().invoke(command, [*words, *named])


def well(done: Result) -> str:
    """It ended well; returns what it printed."""
    assert done.exit_code == 0, done.output
    return done.output


def refused(done: Result, message: str) -> None:
    """It ended with one line that begins so, exit code 2 and no traceback."""
    assert done.exit_code == 2, done.output
    assert done.output.splitlines()[-1].startswith(f"error: {message}")
    assert "Traceback" not in done.output


def trains_once(run: Callable[[str], Result], stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose first model finds the disk full has trained all the same: the next writes what a whole one does.

    `run` runs the stage into a folder.
    """
    well(run("straight"))
    epochs, full = [], [OSError(errno.ENOSPC, "No space left on device")]
    epoch_, save = loop._Run.epoch_, checkpoint.save

    def counted(run: Any, number: int, *arguments: Any) -> None:
        epochs.append(number)
        epoch_(run, number, *arguments)

    def saved(*arguments: Any, **options: Any) -> None:
        if full:
            raise full.pop()
        save(*arguments, **options)

    monkeypatch.setattr(loop._Run, "epoch_", counted)
    monkeypatch.setattr(checkpoint, "save", saved)
    assert [run("out").exit_code for _ in range(2)] == [2, 0]
    assert epochs.count(0) == 1
    assert contents("out") == contents("straight")
    assert not list(Path(".scratch", stage).glob("*"))


def contents(folder: str | Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(files)}
