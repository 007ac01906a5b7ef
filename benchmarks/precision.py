"""How training fares in bf16 and fp16, mixed and pure, beside float32: losses, what is not finite or lost, accuracy.

`python -m benchmarks.precision` trains the network of `model` by the recipe of `finetune`, from the same start on the
same batches under each. `mixed`: float32 weights under autocast; for fp16 the loss is scaled, so that gradients do
not underflow; a step with a gradient that is not finite is left out then, and the scale halved. `true`: weights,
activations and the optimizer's state are of 16 bits, as a model after `.to(torch.float16)`, and nothing is scaled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import HalfPrecision, MixedPrecision, Precision
from torch import nn

from deepcompress import params, runtime
from deepcompress.data.batches import View
from deepcompress.data.store import open_fit, read_meta
from deepcompress.errors import Command
from deepcompress.measure import accuracy
from deepcompress.models.spec import Model
from deepcompress.training import recipe, run
from deepcompress.training.loop import CrossEntropy
from deepcompress.training.run import TrainingData, network

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true")
HEADER = ("Precision", "Seed", "Training loss of each epoch", "Losses not finite", "Steps with a gradient not finite",
          "Gradients that are 0, %", "Validation top-1 %")  # fmt: skip


@dataclass
class Fate:
    """What one training came to."""

    losses: list[float]  # mean of each epoch's finite ones; NaN where none was
    steps: int  # of the training
    not_finite: int  # losses that were NaN or infinite
    lost_steps: int  # steps with a gradient that was
    zeros_pct: float  # share of the gradients of weights that were 0, of all steps [%]
    top1_pct: float  # on the validation images, in the same precision

    def cells(self) -> Iterable[str]:
        """Of a line of the table."""
        losses = ", ".join(f"{loss:.2f}" for loss in self.losses)
        counts = (f"{count} of {self.steps:,}" for count in (self.not_finite, self.lost_steps))
        return losses, *counts, f"{self.zeros_pct:.2f}", f"{self.top1_pct:.1f}"


def fabric_of(precision: str, device: torch.device) -> Fabric:
    """A Fabric of one device; one that is only asked for `16-mixed` on a CPU would take bf16 instead."""
    plugin: Precision
    if precision.endswith("mixed"):
        plugin = MixedPrecision(precision, device.type)  # type: ignore[arg-type]
    else:
        plugin = Precision() if precision == "32-true" else HalfPrecision(precision)  # type: ignore[arg-type]
    return Fabric(accelerator=device.type, devices=1, plugins=[plugin])


def train(net: nn.Module, data: TrainingData, how: recipe.Recipe, fabric: Fabric) -> Fate:
    """Train a network in place, whatever its losses become.

    Args:
        net: In float32.
        data: Batches.
        how: The recipe; of its epochs, learning rate, optimizer and label smoothing.
        fabric: Gives the precision.
    """
    model = fabric.setup_module(net)
    optimizer = fabric.setup_optimizers(recipe.optimizer(how, model.parameters()))
    loss_of, steps, step = CrossEntropy(how.label_smoothing), how.epochs * len(data.train), 0
    losses, lost_steps, zeros, gradients = list[list[float]](), 0, 0, 0
    for epoch in range(how.epochs):
        losses.append([])
        model.train()
        for batch in data.train.epoch(epoch):
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate(how, step, steps)
            optimizer.zero_grad()
            loss = loss_of(model, batch)
            fabric.backward(loss)
            found = [weight.grad for weight in model.parameters() if weight.grad is not None and weight.ndim > 1]
            zeros += sum(int((gradient == 0).sum()) for gradient in found)
            gradients += sum(gradient.numel() for gradient in found)
            lost_steps += not all(bool(gradient.isfinite().all()) for gradient in found)
            optimizer.step()
            losses[-1].append(loss.item())
            step += 1
    with fabric.autocast():
        answers, labels = accuracy.logits(model, data.validation)
    return Fate(
        [_mean_of_finite(of_epoch) for of_epoch in losses],
        steps,
        sum(not torch.tensor(loss).isfinite() for of_epoch in losses for loss in of_epoch),
        lost_steps,
        100 * zeros / gradients,
        100 * accuracy.top_k_correct(answers, labels).double().mean().item(),
    )


def _mean_of_finite(losses: list[float]) -> float:
    values = torch.tensor(losses)
    return values[values.isfinite()].mean().item()


def lines(
    folder: Path, epochs: int | None, seeds: int, precisions: Iterable[str], images: int | None = None
) -> Iterator[str]:
    """A line per precision and seed, as soon as it is measured."""
    shape, train_section = params.section(Model, "model"), params.section(runtime.Train, "train")
    how = params.section(recipe.Recipe, "finetune")
    how = how.model_copy(update={"epochs": epochs or how.epochs})
    device, fit = runtime.device(train_section), open_fit(folder)
    fit = replace(fit, train=replace(fit.train, images=fit.train.images[:images], labels=fit.train.labels[:images]))
    view = View(shape.image_size, read_meta(folder).mean, read_meta(folder).std)
    for precision in precisions:
        for seed in range(seeds):
            runtime.make_deterministic(seed, train_section.threads)
            net = network(shape, len(fit.meta.classes), "model")
            data = run.training_data(fit, view, how, device=device, seed=seed)
            fate = train(net, data, how, fabric_of(precision, device))
            yield f"| {' | '.join((precision, str(seed), *fate.cells()))} |"


@click.command(cls=Command)
@click.option("--fit", type=Path, default=Path("data/fit"), show_default=True)
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of those of the recipe.")
@click.option("--images", type=click.IntRange(min=2), help="To train on, the first ones; all by default.")
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--precision", "precisions", multiple=True, type=click.Choice(PRECISIONS), default=PRECISIONS)
def main(fit: Path, epochs: int | None, images: int | None, seeds: int, precisions: tuple[str, ...]) -> None:
    """A line per precision and seed; reads params.yaml and the images that the stage download left."""
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}", flush=True)
    for line in lines(fit, epochs, seeds, precisions, images):
        print(line, flush=True)


if __name__ == "__main__":
    main()
