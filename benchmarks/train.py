"""Throughput of VGG-11 through the project's own loops, as a share of the matrix multiplication rate.

Counted FLOPs per second of the forward pass (`measure.accuracy.logits`) and of whole training steps
(`training.loop.train`: batch, forward, backward, AdamW), over those of torch's float32 matmul at its best
size. All take turns after each training step. FLOPs are two per multiply-accumulate; the backward pass has
twice those of the forward pass, less the input gradient that the first layer does not need. A share may
exceed 100 %: on AMD processors MKL's matmul is slower than oneDNN's convolutions.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import click
import torch

from benchmarks.batches import MEAN, STD, adamw, random_arrays, vgg11
from benchmarks.interleaved import print_line, print_machine, ratios, spread
from deepcompress import runtime
from deepcompress.data.batches import Batches, View
from deepcompress.errors import Command
from deepcompress.measure.accuracy import logits
from deepcompress.measure.cost import layer_macs
from deepcompress.training import loop
from deepcompress.training.loop import CrossEntropy
from deepcompress.training.run import TrainingData

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightning_fabric import Fabric

    from deepcompress.models.vgg import VGG

IMAGE_SIZE = 32
SIDES = (1024, 2048, 4096)  # of the matrices
FORWARD_PASSES = 3  # have as many FLOPs as one training step
WANTED_PCT = {"forward": 80, "training": 60}


def count_flops(model: VGG, images: int) -> dict[str, float]:
    """Of one turn of each kind: some forward passes, and a training step."""
    macs = list(layer_macs(model).values())
    forward, backward = 2 * sum(macs), 4 * sum(macs) - 2 * macs[0]
    return {"forward": FORWARD_PASSES * images * forward, "training": images * (forward + backward)}


def time_rounds(
    model: VGG, fabric: Fabric, *, batch_size: int, sides: tuple[int, ...], repeats: int
) -> dict[str, list[float]]:
    """Seconds per round of `training`, `forward` and `matmul <side>`, after one untimed round.

    One epoch of training with a batch per round; the others run after each step.
    """

    def batches(images: int, seed: int | None = None) -> Batches:
        arrays, view = random_arrays(images, IMAGE_SIZE), View(IMAGE_SIZE, MEAN, STD)
        return Batches(arrays, view, batch_size=batch_size, device=fabric.device, seed=seed)

    passes = batches(FORWARD_PASSES * batch_size)
    flops = count_flops(model, batch_size)["training"]
    others: dict[str, Callable[[], object]] = {"forward": lambda: logits(model, passes)}
    others |= {f"matmul {side}": multiplication(side, flops, fabric.device) for side in sides}
    rounds = Rounds(others, fabric.device)
    data = TrainingData(train=batches(batch_size * (repeats + 1), seed=0), validation=batches(1))
    loop.train(model, CrossEntropy(), data, adamw(batch_size), fabric=fabric, seed=0, after_step=rounds.after_step)
    return {name: values[1:] for name, values in rounds.seconds.items()}


class Rounds:
    """A stopwatch to call after each training step: notes the step's time, then runs and times the others."""

    def __init__(self, others: dict[str, Callable[[], object]], device: torch.device) -> None:
        self.seconds: dict[str, list[float]] = {name: [] for name in ("training", *others)}
        self._others, self._device = others, device
        self._mark = self._now()

    def after_step(self) -> None:
        self._note("training")
        for name, way in self._others.items():
            way()
            self._note(name)

    def _note(self, name: str) -> None:
        now = self._now()
        self.seconds[name].append(now - self._mark)
        self._mark = now

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def multiplication(side: int, flops: float, device: torch.device) -> Callable[[], None]:
    """At least so many FLOPs of float32 matmul, in squares of this side."""
    left, right, out = (torch.randn(side, side, device=device) for _ in range(3))

    def multiply() -> None:
        for _ in range(_times(side, flops)):
            torch.mm(left, right, out=out)

    return multiply


def matmul_rates(seconds: dict[str, list[float]], sides: tuple[int, ...], flops: float) -> list[float]:
    """FLOPs per second of the side that is fastest at the median, round by round."""
    rates = {side: [_times(side, flops) * 2 * side**3 / value for value in seconds[f"matmul {side}"]] for side in sides}
    return max(rates.values(), key=lambda values: sorted(values)[len(values) // 2])


@click.command(cls=Command)
@click.option("--batch-norm/--no-batch-norm", default=False, show_default=True)
@click.option("--width", default=1.0, show_default=True, help="Multiplies every width of the VGG-11.")
@click.option("--hidden", default=4096, show_default=True, help="Width of the hidden linear layers.")
@click.option("--batch-size", default=128, show_default=True)
@click.option("--repeats", default=9, show_default=True, help="Timed rounds.")
def main(batch_norm: bool, width: float, hidden: int, batch_size: int, repeats: int) -> None:
    """GFLOP/s of matmul, forward and training, and the shares."""
    fabric = runtime.start(runtime.Train(device="auto", precision="32-true"), 0)
    model = vgg11(width=width, size=IMAGE_SIZE, batch_norm=batch_norm, hidden=hidden).to(fabric.device)
    flops = count_flops(model, batch_size)
    print_machine(repeats)
    seconds = time_rounds(model, fabric, batch_size=batch_size, sides=SIDES, repeats=repeats)
    best = matmul_rates(seconds, SIDES, flops["training"])
    print_line("matmul, best size", spread([rate / 1e9 for rate in best], " GFLOP/s"))
    turns = {"forward": FORWARD_PASSES * batch_size, "training": batch_size}
    for name, images in turns.items():
        rates = [flops[name] / value for value in seconds[name]]
        print_line(name, spread([images / value for value in seconds[name]], " images/s"))
        print_line("", spread([rate / 1e9 for rate in rates], " GFLOP/s"))
        shares = [100 * share for share in ratios(rates, best)]
        print_line("", f"{spread(shares, ' %')} of matmul; wanted: at least {WANTED_PCT[name]} %")


def _times(side: int, flops: float) -> int:
    return math.ceil(flops / (2 * side**3))


if __name__ == "__main__":
    main()
