"""What quantization costs in time: a step of training with rounded weights against one in float32, and the searches."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from benchmarks.batches import MEAN, STD, adamw, random_arrays, vgg11
from benchmarks.printing import print_line, print_machine, spread
from deepcompress import runtime
from deepcompress.data.batches import Batch, Batches, View
from deepcompress.data.store import sampled
from deepcompress.errors import Command
from deepcompress.measure.passes import interleaved
from deepcompress.models.vgg import VGG
from deepcompress.quantization import ptq, qat
from deepcompress.quantization.quantize import assign, smallest_encodings
from deepcompress.training.loop import CrossEntropy, Stepper

GROUP_SIZE = 32
STEPS = 4  # per timed call


def steps(names: tuple[str, ...], *, width: float, size: int, batch_size: int) -> dict[str, Callable[[], None]]:
    """A way to train per format, `int4 learned` with learned steps, a few at every call; fp32 is the plain loop."""
    fabric = runtime.start(runtime.Train(device="auto", precision="32-true"), 0)
    recipe = adamw(batch_size)
    images = Batches(
        random_arrays(batch_size, size), View(size, MEAN, STD), batch_size=batch_size, device=fabric.device
    )
    batch = next(iter(images.epoch(0)))
    ways: dict[str, Callable[[], None]] = {}
    for name in names:
        form, _, learned = name.partition(" ")
        model = vgg11(width=width, size=size, batch_norm=True).eval()
        chosen = assign(model, form, group_size=GROUP_SIZE)
        quantized = ptq.without_images(model, chosen, "weight_error" if form == "int4" else "none")
        qat.attach_(model, chosen, quantized, steps="learned" if learned else "fixed")
        stepper = Stepper(model, CrossEntropy(), recipe, fabric)
        stepper.set_modes_()
        ways[name] = partial(_some_steps, stepper, batch, recipe.learning_rate)
    return ways


def searches(model: VGG, *, samples: int) -> dict[str, float]:
    """Seconds of each search and of all else that quantizing a model after training takes, at 4 bits."""
    view, formats = View(model.spec.image_size, MEAN, STD), assign(model, "int4", group_size=GROUP_SIZE)
    arrays = random_arrays(samples, 32)
    batches = Batches(sampled(arrays, samples, seed=0), view, batch_size=16)
    found: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        found[name] = time.perf_counter() - start
        return result

    def pack() -> None:
        ptq.assign_(rounded, quantized)
        smallest_encodings(formats, quantized)

    from_images = partial(ptq.from_images, model, formats, batches, inputs=256, seed=0)
    timed("search by weight error", lambda: ptq.without_images(model, formats, "weight_error"))
    timed("search by output error", from_images)
    quantized = timed("the same, and GPTQ", partial(from_images, rounding="gptq"))
    rounded = copy.deepcopy(model)
    timed("packing", pack)
    return found


def _some_steps(stepper: Stepper, batch: Batch, learning_rate: float) -> None:
    for _ in range(STEPS):
        stepper.step_(batch, learning_rate)


@click.command(cls=Command)
@click.option("--size", default=224, show_default=True, help="Side of the searched network's input [px].")
@click.option("--width", default=1.0, show_default=True, help="Of the searched VGG-11.")
@click.option("--samples", default=16, show_default=True, help="Calibration images.")
@click.option("--step-width", default=0.25, show_default=True, help="Of the trained VGG-11, at 32 px.")
@click.option("--batch-size", default=64, show_default=True, help="Images per step.")
@click.option("--repeats", default=5, show_default=True, help="Timed rounds.")
def main(size: int, width: float, samples: int, step_width: float, batch_size: int, repeats: int) -> None:
    """A step beside that in float32, and the searches."""
    print_machine(repeats)
    ways = steps(("fp32", "bf16", "int8", "int4", "int4 learned"), width=step_width, size=32, batch_size=batch_size)
    times = interleaved(ways, warm_up=1, rounds=repeats)
    for name, values in times.items():
        print_line(f"{STEPS} steps {name}", spread(values, " ms"))
        if name != "fp32":
            print_line(f"{STEPS} steps {name} over fp32", spread(values / times["fp32"], "x"))
    model = vgg11(width=width, size=size, batch_norm=False).eval()
    for name, spent in searches(model, samples=samples).items():
        print_line(name, f"{spent:.1f} s")


if __name__ == "__main__":
    main()
