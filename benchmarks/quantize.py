"""What quantization costs in time: a step of training with rounded weights, the searches, loading a packed file.

Each is set against what it replaces: the same step in plain float32, nothing, and loading the float32 file.
"""

from __future__ import annotations

import copy
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import torch

from benchmarks.batches import MEAN, STD, random_arrays
from benchmarks.interleaved import interleave, print_line, print_machine, ratios, spread
from deepcompress import runtime
from deepcompress.data.batches import Batches, View
from deepcompress.data.store import sampled
from deepcompress.models import checkpoint
from deepcompress.models.spec import Model, VGGSpec
from deepcompress.models.vgg import VGG
from deepcompress.quantization import ptq, qat
from deepcompress.quantization.quantize import assign, smallest_encodings
from deepcompress.training.loop import CrossEntropy, Stepper
from deepcompress.training.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES = 100
GROUP_SIZE = 32
LEARNING_RATE = 1e-4
STEPS = 4  # per timed call


def network(*, width: float, size: int, batch_norm: bool) -> VGG:
    """A VGG-11 for CIFAR-100; at width 1 and 224 px that of the paper."""
    section = Model(
        arch="vgg11",
        batch_norm=batch_norm,
        width=width,
        hidden=4096,
        dropout=0.5,
        image_size=size,
        weights=None,
    )
    torch.manual_seed(0)
    return VGG(VGGSpec.from_model_section(section, CLASSES)).eval()


def steps(names: tuple[str, ...], *, width: float, size: int, batch_size: int) -> dict[str, Callable[[], None]]:
    """A way to train per format, `int4 learned` with learned steps, a few at every call; fp32 is the plain loop."""
    fabric = runtime.start(runtime.Train(device="auto", precision="32-true"), 0)
    recipe = Recipe(
        trainable="all",
        epochs=1,
        batch_size=batch_size,
        optimizer="adamw",
        learning_rate=LEARNING_RATE,
        weight_decay=5e-2,
        schedule="constant",
    )
    images = Batches(
        random_arrays(batch_size, size), View(size, MEAN, STD), batch_size=batch_size, device=fabric.device
    )
    batch = next(iter(images.epoch(0)))
    ways: dict[str, Callable[[], None]] = {}
    for name in names:
        form, _, learned = name.partition(" ")
        model = network(width=width, size=size, batch_norm=True)
        chosen = assign(model, form, group_size=GROUP_SIZE)
        quantized = ptq.without_images(model, chosen, "weight_error" if form == "int4" else "none")
        qat.attach_(model, chosen, quantized, steps="learned" if learned else "fixed")
        stepper = Stepper(model, CrossEntropy(), recipe, fabric)
        stepper.set_modes_()
        ways[name] = partial(_some_steps, stepper, batch)
    return ways


def searches(model: VGG, *, samples: int) -> dict[str, float]:
    """Seconds of each search and of all else that quantizing a model after training takes, at 4 bits."""
    view, formats = View(model.spec.image_size, MEAN, STD), assign(model, "int4", group_size=GROUP_SIZE)
    arrays = random_arrays(samples, 32)
    batches = Batches(sampled(arrays, samples, seed=0), view, batch_size=16)
    found, clock = {}, time.perf_counter()
    for name, search in (
        ("search by weight error", lambda: ptq.without_images(model, formats, "weight_error")),
        ("search by output error", partial(ptq.from_images, model, formats, batches, inputs=256, seed=0)),
        ("the same, and GPTQ", partial(ptq.from_images, model, formats, batches, inputs=256, seed=0, rounding="gptq")),
    ):
        quantized = search()
        found[name], clock = time.perf_counter() - clock, time.perf_counter()
    rounded = copy.deepcopy(model)
    clock = time.perf_counter()
    ptq.assign_(rounded, quantized)
    smallest_encodings(formats, quantized)
    found["packing"] = time.perf_counter() - clock
    return found


def files_of(model: VGG, folder: Path) -> dict[str, Callable[[], object]]:
    """A way to load per format, from a file that each has written."""
    ways: dict[str, Callable[[], object]] = {}
    for form in ("fp32", "int8", "int4", "int3"):
        formats = assign(model, form, group_size=GROUP_SIZE)
        rounded = copy.deepcopy(model)
        quantized = ptq.without_images(rounded, formats)
        ptq.assign_(rounded, quantized)
        encodings = smallest_encodings(formats, quantized)
        checkpoint.save(
            folder / f"{form}.safetensors",
            rounded,
            view=View(model.spec.image_size, MEAN, STD),
            classes=tuple(map(str, range(CLASSES))),
            provenance={},
            encodings=encodings,
        )
        ways[form] = partial(checkpoint.load, folder / f"{form}.safetensors")
    return ways


def _some_steps(stepper: Stepper, batch: object) -> None:
    for _ in range(STEPS):
        stepper.step_(batch, LEARNING_RATE)  # type: ignore[arg-type]


def _print_ratios(seconds: dict[str, list[float]], what: str) -> None:
    for name, values in seconds.items():
        print_line(f"{what} {name}", spread([1e3 * value for value in values], " ms"))
        if name != "fp32":
            print_line(f"{what} {name} over fp32", spread(ratios(values, seconds["fp32"]), "x"))


@click.command()
@click.option("--size", default=224, show_default=True, help="Side of the searched network's input [px].")
@click.option("--width", default=1.0, show_default=True, help="Of the searched VGG-11.")
@click.option("--samples", default=16, show_default=True, help="Calibration images.")
@click.option("--step-width", default=0.25, show_default=True, help="Of the trained VGG-11, at 32 px.")
@click.option("--batch-size", default=64, show_default=True, help="Images per step.")
@click.option("--repeats", default=5, show_default=True, help="Timed rounds.")
def main(size: int, width: float, samples: int, step_width: float, batch_size: int, repeats: int) -> None:
    """Step, searches and loading, each beside what it replaces."""
    print_machine(repeats)
    ways = steps(("fp32", "bf16", "int8", "int4", "int4 learned"), width=step_width, size=32, batch_size=batch_size)
    _print_ratios(interleave(ways, repeats), f"{STEPS} steps")
    model = network(width=width, size=size, batch_norm=False)
    for name, seconds in searches(model, samples=samples).items():
        print_line(name, f"{seconds:.1f} s")
    with tempfile.TemporaryDirectory() as folder:
        loads = files_of(model, Path(folder))
        for form in loads:
            print_line(f"file {form}", f"{(Path(folder) / f'{form}.safetensors').stat().st_size / 2**20:.2f} MiB")
        _print_ratios(interleave(loads, repeats), "load")


if __name__ == "__main__":
    main()
