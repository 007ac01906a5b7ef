"""Models in turn in every engine, one thread: accuracy, time, and times as fast as eager PyTorch on the first of them.

The first file is the dense network, the others what was made of it; each is timed in float and in int8, whose ranges
are found on training images as the export does. With `--peer`, an OpenVINO file (.xml) of the dense network that
another tool quantized is measured in the same rounds: `--export` writes the dense network as ONNX and the calibration
images for it, and docs/results.md has the lines of NNCF that make the file.
Accuracy is on validation images, to choose by; on held-out ones once all is chosen. Times are CPU times of interleaved
calls, which waiting for a busy core does not count; of one thread they are what a call takes on an idle machine, but
for caches that others use.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import torch

from benchmarks.printing import print_line, print_machine
from deepcompress import params
from deepcompress.data.heldout import open_heldout
from deepcompress.data.store import Arrays, open_fit, sampled
from deepcompress.deploy.benchmark import available
from deepcompress.deploy.integers import Deployable
from deepcompress.deploy.onnx import channels_first
from deepcompress.deploy.settings import Deploy
from deepcompress.errors import Command
from deepcompress.measure import passes
from deepcompress.measure.statistics import compare

if TYPE_CHECKING:
    from deepcompress.deploy.benchmark import Call, Pixels

    Form = tuple[str, str]  # network, engine

ENGINES = ("pytorch", "onnxruntime", "openvino", "onnxruntime_int8", "openvino_int8")
BATCHES = (1, 32)


def forms(model: Deployable) -> dict[Form, Call]:
    """A model in every engine that is there."""
    engines, missing = available(ENGINES)
    for engine, why in missing.items():
        print_line(engine, why)
    loaded = {(model.path.stem, name): engine.load(model) for name, engine in engines.items()}
    return {form: call for form, call in loaded.items() if call is not None}


def right(call: Call, pixels: Pixels, labels: np.ndarray) -> np.ndarray:
    """Which images a form names the class of."""
    most = max(BATCHES)
    parts = [call(pixels[start : start + most]).argmax(1) for start in range(0, len(pixels), most)]
    return np.concatenate(parts) == labels


def accuracies(calls: Mapping[Form, Call], images: Arrays, size: int) -> dict[Form, str]:
    """Columns of each form: top-1 accuracy, and points to the first form with the 95 % interval."""
    pixels = channels_first(images.images, size)
    answers = {form: right(call, pixels, images.labels) for form, call in calls.items()}
    plain, columns = next(iter(answers.values())), {}
    for form, own in answers.items():
        found = compare(own, plain)
        points = f"{found.points:+.2f} ({found.low:+.2f} to {found.high:+.2f})" if own is not plain else ""
        columns[form] = f"{100 * own.mean():.2f} | {points.replace('-', '−')}"
    return columns


def times(calls: Mapping[Form, Call], pixels: Pixels, rounds: int) -> dict[Form, str]:
    """Columns of each form: median milliseconds of a call, and times as fast as the first form."""
    tasks = {form: partial(call, np.ascontiguousarray(pixels)) for form, call in calls.items()}
    taken = passes.interleaved(tasks, rounds=rounds, clock=time.process_time)
    plain = next(iter(taken.values()))
    return {form: f"{np.median(own):.3g} | {np.median(plain / own):.1f}×" for form, own in taken.items()}


@click.command(cls=Command)
@click.argument("models", type=Path, nargs=-1, required=True)
@click.option("--data", type=Path, default=Path("data"), show_default=True, help="Folder of fit and heldout.")
@click.option("--heldout", is_flag=True, help="Accuracy on held-out images, in place of validation images.")
@click.option("--rounds", default=40, show_default=True, help="Rounds that count; a quarter of them in batches of 32.")
@click.option("--export", "export_to", type=Path, help="Folder for dense.onnx and images.npy; nothing is measured.")
@click.option("--peer", type=Path, help="An OpenVINO file (.xml) of the first model, to be measured as well.")
def main(
    models: tuple[Path, ...], data: Path, heldout: bool, rounds: int, export_to: Path | None, peer: Path | None
) -> None:
    """Print a table of the models (checkpoints, the dense one first) in every engine."""
    torch.set_num_threads(1)
    settings, fit = params.section(Deploy, "deploy"), open_fit(data / "fit")
    images = sampled(fit.train, settings.calibration_samples, params.seed()).images
    with tempfile.TemporaryDirectory() as temporary:
        made = []
        for path in models:
            folder = Path(temporary, path.stem)
            folder.mkdir()
            made.append(Deployable(path, images, fit.meta, settings, folder, always_int8=True))
        dense = made[0]
        if export_to is not None:
            (export_to / "dense.onnx").write_bytes(dense.float_file.read_bytes())
            np.save(export_to / "images.npy", dense.calibration)
            return
        calls = {form: call for model in made for form, call in forms(model).items()}
        if peer is not None:
            from deepcompress.deploy.engines import openvino

            calls[dense.path.stem, "NNCF in openvino"] = openvino.compiled(peer, 1)
        print_machine(rounds)
        shown = open_heldout(data / "heldout").arrays if heldout else fit.validation
        columns = [accuracies(calls, shown, dense.loaded.view.size)]
        for batch in BATCHES:
            columns.append(times(calls, dense.calibration[:batch], rounds if batch == 1 else max(1, rounds // 4)))
        print(f"| Network | Engine | Top-1 %, n = {len(shown)} | Points (95 %) | ms | Batch 1 | ms | Batch 32 |")
        print("|---|---|--:|--:|--:|--:|--:|--:|")
        for form in calls:
            print(f"| {' | '.join((*form, *(column[form] for column in columns)))} |")


if __name__ == "__main__":
    main()
