"""What it changes that batch norms and biases of a model in integers are float16: answers on validation images.

Reads models that the pipeline made, so run `dvc repro` first. A model rounded after training has the float32 vectors of
the model that it was made from; with these put beside its integers, all else is equal.
"""

from __future__ import annotations

import copy
from pathlib import Path

import click
import torch

from deepcompress.data.batches import Batches
from deepcompress.data.store import Arrays, open_fit
from deepcompress.errors import Command, UserError
from deepcompress.measure import accuracy
from deepcompress.models import checkpoint
from deepcompress.models.checkpoint import Checkpoint
from deepcompress.plan_table import SUFFIX, Plan
from deepcompress.quantization import ptq
from deepcompress.quantization.quantize import output_error, round_vectors_

HEADER = ("Model", "Images", "Answers that differ", "Right with float32", "Right with float16", "Error of the logits")


def with_float32(rounded: Checkpoint, source: Checkpoint) -> Checkpoint:
    """The source with the integers of the model that was rounded from it; UserError if that comes from elsewhere."""
    weights = {name.removesuffix(".weight"): weight for name, weight in rounded.integers.items()}
    ptq.assign_(source.model, weights)
    again = copy.deepcopy(source.model)
    round_vectors_(again)
    if not all(torch.equal(value, again.state_dict()[key]) for key, value in rounded.model.state_dict().items()):
        raise UserError("a rounded model was made from another model than lies there now; run dvc repro first")
    return source


def row(name: str, rounded: Checkpoint, source: Checkpoint, validation: Arrays) -> list[str]:
    """One line of the table."""
    before, labels = answers(with_float32(rounded, source), validation)
    after, _ = answers(rounded, validation)
    counts = [len(labels), int((before.argmax(1) != after.argmax(1)).sum())]
    counts += [int((logits.argmax(1) == labels).sum()) for logits in (before, after)]
    return [f"`{name}`", *(f"{count:,}" for count in counts), f"{output_error(before, after):.1e}"]


def answers(loaded: Checkpoint, images: Arrays) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels."""
    return accuracy.logits(loaded.model, Batches(images, loaded.view, batch_size=256))


@click.command(cls=Command)
@click.option("--fit", type=Path, default=Path("data/fit"), show_default=True)
@click.option("--plan", type=Path, default=Path("results/plan.csv"), show_default=True)
def main(fit: Path, plan: Path) -> None:
    """A line per model that was rounded to integers after training."""
    validation = open_fit(fit).validation
    print(f"| {' | '.join(HEADER)} |\n|---|{'--:|' * (len(HEADER) - 1)}")
    for model in Plan.read(plan):
        if model.step == "quantize" and model.method == "ptq" and model.builds_on:
            rounded, source = (checkpoint.load(f"models/{name}{SUFFIX}") for name in (model.id, model.builds_on))
            if rounded.integers:
                print(f"| {' | '.join(row(model.id, rounded, source, validation))} |", flush=True)


if __name__ == "__main__":
    main()
