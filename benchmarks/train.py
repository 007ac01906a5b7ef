"""Throughput of VGG-11 through the project's own loops, as a share of the matrix multiplication rate.

Counted FLOPs per second of the forward pass (`measure.accuracy.logits`) and of whole training steps
(`training.loop.Stepper`: batch, forward, backward, AdamW), over those of torch's float32 matmul at its best
size. All take turns. FLOPs are two per multiply-accumulate; the backward pass has
twice those of the forward pass, less the input gradient that the first layer does not need. A share may
exceed 100 %: on AMD processors MKL's matmul is slower than oneDNN's convolutions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import click
import numpy as np
import torch
from lightning_fabric import Fabric

from benchmarks.batches import MEAN, STD, adamw, random_arrays, vgg11
from benchmarks.printing import Times, print_line, print_machine, print_rates, spread
from deepcompress import runtime
from deepcompress.data.batches import Batches, View
from deepcompress.errors import Command
from deepcompress.measure.accuracy import logits
from deepcompress.measure.cost import layer_macs
from deepcompress.measure.passes import interleaved
from deepcompress.models.vgg import VGG
from deepcompress.training.loop import CrossEntropy, Stepper

IMAGE_SIZE = 32
SIDES = (1024, 2048, 4096)  # of the matrices
FORWARD_PASSES = 3  # have as many FLOPs as one training step
WANTED_PCT = {"forward": 80, "training": 60}


def count_flops(model: VGG, images: int) -> dict[str, float]:
    """Of one turn of each kind: some forward passes, and a training step."""
    macs = list(layer_macs(model).values())
    forward, backward = 2 * sum(macs), 4 * sum(macs) - 2 * macs[0]
    return {"forward": FORWARD_PASSES * images * forward, "training": images * (forward + backward)}


def ways(model: VGG, fabric: Fabric, batch_size: int, sides: tuple[int, ...]) -> dict[str, Callable[[], object]]:
    """A turn of `training`, `forward` and `matmul <side>`."""

    def batches(images: int) -> Batches:
        arrays, view = random_arrays(images, IMAGE_SIZE), View(IMAGE_SIZE, MEAN, STD)
        return Batches(arrays, view, batch_size=batch_size, device=fabric.device, seed=0)

    recipe, one, several = adamw(batch_size), batches(batch_size), batches(FORWARD_PASSES * batch_size)
    stepper = Stepper(model, CrossEntropy(), recipe, fabric)
    stepper.set_modes_()

    def training() -> None:
        for batch in one.epoch(0):
            stepper.step_(batch, recipe.learning_rate)

    flops = count_flops(model, batch_size)["training"]
    squares = {f"matmul {side}": multiplication(side, flops, fabric.device) for side in sides}
    return {"training": training, "forward": lambda: logits(model, several), **squares}


def multiplication(side: int, flops: float, device: torch.device) -> Callable[[], None]:
    """At least so many FLOPs of float32 matmul, in squares of this side."""
    left, right, out = (torch.randn(side, side, device=device) for _ in range(3))

    def multiply() -> None:
        for _ in range(_times(side, flops)):
            torch.mm(left, right, out=out)

    return multiply


def matmul_rates(times: Times, sides: tuple[int, ...], flops: float) -> np.ndarray:
    """GFLOP/s of the side that is fastest at the median, round by round."""
    rates = [_times(side, flops) * 2 * side**3 / 1e6 / times[f"matmul {side}"] for side in sides]
    return max(rates, key=np.median)


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

    def clock() -> float:
        if fabric.device.type == "cuda":
            torch.cuda.synchronize(fabric.device)
        return time.perf_counter()

    times = interleaved(ways(model, fabric, batch_size, SIDES), warm_up=1, rounds=repeats, clock=clock)
    best = matmul_rates(times, SIDES, flops["training"])
    print_line("matmul, best size", spread(best, " GFLOP/s"))
    for name, images in {"forward": FORWARD_PASSES * batch_size, "training": batch_size}.items():
        rates = flops[name] / 1e6 / times[name]
        print_rates({name: times[name]}, amount=images, unit="images")
        print_line("", spread(rates, " GFLOP/s"))
        print_line("", f"{spread(100 * rates / best, ' %')} of matmul; wanted: at least {WANTED_PCT[name]} %")


def _times(side: int, flops: float) -> int:
    return math.ceil(flops / (2 * side**3))


if __name__ == "__main__":
    main()
