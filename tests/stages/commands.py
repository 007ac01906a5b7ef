"""What the tests of stages share: params.yaml, a command with its options, and how one refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from click import Command
from click.testing import CliRunner, Result

from deepcompress.data.batches import View

TRAIN = {"device": "cpu", "precision": "32-true"}
RECIPE: dict[str, Any] = {"trainable": "all", "epochs": 2, "batch_size": 16, "optimizer": "adamw"}
RECIPE |= {"learning_rate": 0.001, "weight_decay": 0.05, "schedule": "one_cycle"}
SHAPE = {"batch_norm": True, "width": 0.0625, "hidden": 128, "dropout": 0.2, "image_size": 32, "weights": None}
VIEW = View(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def network(arch: str, **recipe: Any) -> dict[str, Any]:
    """A tiny network's block of params.yaml, with its recipe."""
    return {"arch": arch, **SHAPE, "recipe": {**RECIPE, **recipe}}


def write_params(*, seed: int = 1, **sections: Any) -> None:
    """Write params.yaml of the current folder."""
    document = {"seed": seed, "train": TRAIN, **sections}
    Path("params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def invoke(command: Command, *words: str, **options: str) -> Result:
    """Run a stage's command; `per_class="a"` is the option `--per-class a`, other words come as they are."""
    named = [word for option, value in options.items() for word in (f"--{option.replace('_', '-')}", value)]
    return CliRunner().invoke(command, [*words, *named])


def refused(done: Result, message: str) -> None:
    """It ended with one line that begins so, exit code 2 and no traceback."""
    assert done.exit_code == 2, done.output
    assert done.output.splitlines()[-1].startswith(f"error: {message}")
    assert "Traceback" not in done.output
