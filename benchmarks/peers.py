"""What other tools made of the baseline, beside it: its images and answers, and how many another model keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from torch import nn

from benchmarks.printing import print_line
from deepcompress.data.batches import Batches
from deepcompress.data.store import open_fit
from deepcompress.measure import accuracy
from deepcompress.measure.statistics import compare
from deepcompress.models import checkpoint

BATCH_SIZE = 250
Command = Callable[..., Any]


def inputs(command: Command) -> Command:
    """The options `--fit` and `--baseline` of a command: what the pipeline made of both, by default."""
    baseline = click.option("--baseline", type=Path, default=Path("models/baseline.safetensors"), show_default=True)
    return click.option("--fit", type=Path, default=Path("data/fit"), show_default=True)(baseline(command))


class Baseline:
    """A dense model and its answers on validation images.

    Args:
        path: The checkpoint.
        fit: Folder of the images.
    """

    def __init__(self, path: Path, fit: Path) -> None:
        self.loaded, self.fit = checkpoint.load(path), open_fit(fit)
        self.batches = Batches(self.fit.validation, self.loaded.view, batch_size=BATCH_SIZE)
        self.logits, self.labels = accuracy.logits(self.loaded.model, self.batches)
        self._right = (self.logits.argmax(1) == self.labels).numpy()

    @property
    def top1(self) -> str:
        """Its accuracy, in words."""
        return f"{100 * self._right.mean():.2f} % of {len(self.labels)}"

    def top1_pct(self, model: nn.Module) -> float:
        """Accuracy of another model [%]."""
        return 100 * accuracy.top_k_correct(*accuracy.logits(model, self.batches)).double().mean().item()

    def print_beside(self, name: str, model: nn.Module, last: str) -> None:
        """A line: accuracy of another model, what it loses, how its answers differ, and what else there is to say."""
        answers = accuracy.logits(model, self.batches)[0]
        right = (answers.argmax(1) == self.labels).numpy()
        points, same = compare(right, self._right), accuracy.top1_agreement(answers, self.logits)
        error = ((answers - self.logits).norm() / self.logits.norm()).item()
        lost = f"{points.points:+.2f} ({points.low:+.2f} to {points.high:+.2f}) points"
        print_line(name, f"{100 * right.mean():.2f} %, {lost}, same {100 * same:.2f} %, error {error:.4f}, {last}")
