"""Students of a VGG-16: its answers computed once, or the teacher run on every batch as a plain loop does.

Both ways train the same VGG-11 with the same loop, losses, batches and seeds; only where the teacher's answers
come from differs. Ours starts without any stored answers each time and pays for the pass that makes them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
import torch

from benchmarks.batches import MEAN, STD, random_arrays
from benchmarks.interleaved import interleave, print_line, print_machine, print_rates, print_speedup
from deepcompress import registry, runtime
from deepcompress.data.batches import View
from deepcompress.data.store import Fit, Meta
from deepcompress.distillation import teacher_cache
from deepcompress.distillation.loss import LossContext
from deepcompress.distillation.objective import DistillObjective, build_losses
from deepcompress.models.spec import Model, VGGSpec
from deepcompress.models.vgg import VGG
from deepcompress.training import loop
from deepcompress.training.inputs import training_data
from deepcompress.training.recipe import Recipe

if TYPE_CHECKING:
    from deepcompress.distillation.teacher_cache import Teacher

CLASSES, IMAGE_SIZE = 100, 32
VALIDATION_IMAGES = 64
METHODS = ("logit", "crd", "hint")


class Distilling:
    """One student by one method, from the same weights at every call.

    Args:
        method: A file in distillation/losses, with its default options.
        images: To train on.
        batch_size: Images per step.
        width: Of both networks; 1 is that of the paper.
        epochs: Passes over the images.
    """

    def __init__(self, method: str, *, images: int, batch_size: int, width: float, epochs: int) -> None:
        self.fabric = runtime.start(runtime.Train(device="auto", precision="32-true"), 0)
        self.recipe = Recipe(
            trainable="all",
            epochs=epochs,
            batch_size=batch_size,
            optimizer="adamw",
            learning_rate=1e-4,
            weight_decay=5e-2,
            schedule="constant",
        )
        self._method, self._width = method, width
        self.teacher = self._network("vgg16").requires_grad_(False).eval()
        meta = Meta(tuple(map(str, range(CLASSES))), IMAGE_SIZE, MEAN, STD, {}, "random", "none")
        fit = Fit(random_arrays(images, IMAGE_SIZE), random_arrays(VALIDATION_IMAGES, IMAGE_SIZE), meta)
        view = View(IMAGE_SIZE, MEAN, STD)
        self.data = training_data(fit, view, self.recipe, device=self.fabric.device, seed=0)
        self.weights: dict[str, dict[str, torch.Tensor]] = {}

    def ours(self) -> None:
        """One pass of the teacher, then the student alone."""
        with tempfile.TemporaryDirectory() as folder:
            self._train("ours", Path(folder))

    def plain(self) -> None:
        """Teacher and student on every batch."""
        self._train("plain", None)

    def largest_difference(self) -> float:
        """Between the students' weights after either way, as a share of each tensor's largest weight."""
        ours, plain = self.weights["ours"], self.weights["plain"]
        return max(float((ours[name] - t).abs().max() / t.abs().max().clamp(min=1e-6)) for name, t in plain.items())

    def _train(self, way: str, folder: Path | None) -> None:
        torch.manual_seed(1)
        student, module = self._network("vgg11"), registry.find("distillation.losses", self._method)
        labels, options = torch.from_numpy(self.data.train.arrays.labels), module.Options()
        context = LossContext(student, self.teacher, labels)
        losses = build_losses({self._method: (options.weight, options)}, context)
        objective = DistillObjective(
            losses,
            self._answers(losses[self._method][1].teacher_taps, losses[self._method][1].reads_logits, folder),
            cross_entropy=options.cross_entropy,
            label_smoothing=0.0,
            steps_per_epoch=len(self.data.train),
        )
        loop.train(student, objective, self.data, self.recipe, fabric=self.fabric, seed=0)
        self.weights[way] = {name: tensor.detach().cpu().clone() for name, tensor in student.named_parameters()}

    def _answers(self, taps: tuple, logits: bool, folder: Path | None) -> Teacher:
        """The plain way runs the whole teacher, whatever the loss reads."""
        if folder is None:
            return teacher_cache.OnlineTeacher(self.teacher, taps, logits=True, fabric=self.fabric)
        return teacher_cache.cached_teacher(
            *(self.teacher, self.data.train, taps),
            logits=logits,
            fabric=self.fabric,
            folder=folder,
            budget_mib=4096,
        )

    def _network(self, arch: str) -> VGG:
        section = Model(
            arch=arch, batch_norm=True, width=self._width, hidden=512, dropout=0.0, image_size=IMAGE_SIZE, weights=None
        )
        return VGG(VGGSpec.from_model_section(section, CLASSES))


@click.command()
@click.option("--method", "methods", multiple=True, default=METHODS, show_default=True)
@click.option("--images", default=2048, show_default=True, help="Training images.")
@click.option("--batch-size", default=64, show_default=True)
@click.option("--width", default=0.25, show_default=True, help="Of teacher and student.")
@click.option("--epochs", default=5, show_default=True)
@click.option("--repeats", default=3, show_default=True, help="Timed rounds.")
def main(methods: tuple[str, ...], images: int, batch_size: int, width: float, epochs: int, repeats: int) -> None:
    """Images per second of a whole training, ours and the plain way, and their ratio, method by method."""
    print_machine(repeats)
    for method in methods:
        course = Distilling(method, images=images, batch_size=batch_size, width=width, epochs=epochs)
        seconds = interleave({f"{method}, ours": course.ours, f"{method}, plain": course.plain}, repeats)
        print_rates(seconds, amount=images * epochs, unit="images")
        print_speedup(seconds, ours=f"{method}, ours", plain=f"{method}, plain")
        print_line("largest difference", f"{course.largest_difference():.1e} of a tensor's largest weight")


if __name__ == "__main__":
    main()
