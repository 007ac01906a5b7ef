"""Head-only training of a VGG-11: frozen layers run once per image, or in every epoch as a plain loop does.

Both ways train with the same loop, objective and batches, and validate after each epoch; the frozen layers
are in evaluation mode and record no gradients in either. Only what is run again differs.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import click
import torch

from benchmarks.batches import MEAN, STD, random_arrays
from benchmarks.interleaved import interleave, print_line, print_machine, print_rates, print_speedup
from deepcompress import runtime
from deepcompress.data.batches import View
from deepcompress.data.store import Fit, Meta
from deepcompress.models.spec import Model, VGGSpec
from deepcompress.models.vgg import VGG
from deepcompress.training import inputs, loop
from deepcompress.training.loop import CrossEntropy
from deepcompress.training.recipe import Recipe

if TYPE_CHECKING:
    from deepcompress.training.inputs import TrainingData

CLASSES = 100
VALIDATION_SHARE = 8  # one validation image for so many training images


class HeadTraining:
    """The source report's recipe, three epochs of Adam, from the same weights at every call.

    Args:
        images: To train on.
        size: Side of the network's input [px].
        batch_size: Images per step.
        width: Of the network; 1 is the VGG-11 of the paper.
    """

    def __init__(self, images: int, *, size: int, batch_size: int, width: float) -> None:
        self.fabric = runtime.start(runtime.Train(device="auto", precision="32-true"), 0)
        self.recipe = Recipe(
            trainable="head",
            epochs=3,
            batch_size=batch_size,
            optimizer="adam",
            learning_rate=1e-3,
            weight_decay=1e-4,
            schedule="constant",
        )
        section = Model(
            arch="vgg11",
            batch_norm=False,
            width=width,
            hidden=4096,
            dropout=0.5,
            image_size=size,
            weights=None,
        )
        self.model = VGG(VGGSpec.from_model_section(section, CLASSES))
        self.data = self._data(images, View(size, MEAN, STD))
        self._head = copy.deepcopy(inputs.head(self.model).state_dict())
        self.weights: dict[str, torch.Tensor] = {}

    def ours(self) -> None:
        """Features once, then the head alone."""
        self._start()
        part, data = inputs.trainable_part(self.model, self.data, self.recipe, fabric=self.fabric)
        loop.train(part, CrossEntropy(), data, self.recipe, fabric=self.fabric, seed=0)
        self._end("ours")

    def plain(self) -> None:
        """Every layer in every epoch."""
        self._start()
        loop.train(self.model, CrossEntropy(), self.data, self.recipe, fabric=self.fabric, seed=0)
        self._end("plain")

    def largest_difference(self) -> float:
        """Between the head's weights after either way, as a share of the largest weight."""
        ours, plain = self.weights["ours"], self.weights["plain"]
        return float((ours - plain).abs().max() / plain.abs().max())

    def _data(self, images: int, view: View) -> TrainingData:
        meta = Meta(tuple(map(str, range(CLASSES))), 32, MEAN, STD, {}, "random", "none")
        fit = Fit(random_arrays(images, 32), random_arrays(max(1, images // VALIDATION_SHARE), 32), meta)
        return inputs.training_data(fit, view, self.recipe, device=self.fabric.device, seed=0)

    def _start(self) -> None:
        inputs.head(self.model).load_state_dict(self._head)

    def _end(self, way: str) -> None:
        self.weights[way] = inputs.head(self.model).weight.detach().cpu().clone()


@click.command()
@click.option("--images", default=128, show_default=True, help="Training images.")
@click.option("--size", default=224, show_default=True, help="Side of the network's input [px].")
@click.option("--batch-size", default=64, show_default=True)
@click.option("--width", default=1.0, show_default=True, help="Of the VGG-11.")
@click.option("--repeats", default=3, show_default=True, help="Timed rounds.")
def main(images: int, size: int, batch_size: int, width: float, repeats: int) -> None:
    """Epochs' images per second, ours and the plain way, and their ratio."""
    training = HeadTraining(images, size=size, batch_size=batch_size, width=width)
    print_machine(repeats)
    seconds = interleave({"ours": training.ours, "plain": training.plain}, repeats)
    print_rates(seconds, amount=images * training.recipe.epochs, unit="images")
    print_speedup(seconds, ours="ours", plain="plain")
    print_line("largest difference", f"{training.largest_difference():.1e} of the largest weight")


if __name__ == "__main__":
    main()
