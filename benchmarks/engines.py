"""Engines in turn on full-width VGG-11 at 32 px: dense and of 0.65 times the widths, in float and int8, one thread.

Weights are random, which changes no time: engines multiply zeros and rounded values like others. With `--peer`, an
OpenVINO file (.xml) of the dense network that another tool quantized is timed in the same rounds: `--export` writes the
dense network as ONNX and the calibration images for it, and docs/results.md has the lines of NNCF that make the file.
Times are CPU times of interleaved calls, which waiting for a busy core does not count; of one thread they are what a
call takes on an idle machine, but for caches that others use.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import torch

from benchmarks.interleaved import print_line, print_machine, ratios, spread
from deepcompress import params
from deepcompress.data.batches import View
from deepcompress.deploy.engine import Deployable, available
from deepcompress.deploy.settings import Deploy
from deepcompress.measure import latency
from deepcompress.models import checkpoint
from deepcompress.models.spec import Model, VGGSpec
from deepcompress.models.vgg import VGG

if TYPE_CHECKING:
    from deepcompress.deploy.engine import Call

CLASSES, SIZE, CALIBRATION = 100, 32, 128
WIDTHS = {"dense": 1.0, "narrow": 0.65}
ENGINES = ("pytorch", "onnxruntime", "onnxruntime_int8", "openvino", "openvino_int8")
PLAIN = ("dense", "pytorch")


def write_network(path: Path, width: float) -> None:
    """A checkpoint of VGG-11 with random weights."""
    section = Model(arch="vgg11", batch_norm=True, width=width, hidden=4096, dropout=0.5, image_size=SIZE, weights=None)
    torch.manual_seed(0)
    model = VGG(VGGSpec.from_model_section(section, CLASSES)).eval()
    view = View(SIZE, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    checkpoint.save(path, model, view=view, classes=tuple(map(str, range(CLASSES))), provenance={})


def calls(name: str, folder: Path, pixels: np.ndarray) -> dict[tuple[str, str], Call]:
    """A network in every engine that is there."""
    path = folder / f"{name}.safetensors"
    write_network(path, WIDTHS[name])
    engines, missing = available(ENGINES)
    for engine, why in missing.items():
        print_line(engine, why)
    settings, place = params.section(Deploy, "deploy"), folder / name
    place.mkdir()
    model = Deployable(path, checkpoint.load(path), pixels, settings, 1, place, always_int8=True)
    forms = {(name, engine): module.load(model) for engine, module in engines.items()}
    return {key: call for key, call in forms.items() if call is not None}


@click.command()
@click.option("--rounds", default=40, show_default=True, help="Rounds that count.")
@click.option("--export", "export_to", type=Path, help="Folder for dense.onnx and images.npy; nothing is timed.")
@click.option("--peer", type=Path, help="An OpenVINO file (.xml) of the dense network, to be timed as well.")
def main(rounds: int, export_to: Path | None, peer: Path | None) -> None:
    """Print the median time of a call of each, and how many times faster than eager PyTorch on the dense network."""
    torch.set_num_threads(1)
    pixels = np.random.default_rng(0).integers(0, 256, (CALIBRATION, 3, SIZE, SIZE), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if export_to is not None:
            path = folder / "dense.safetensors"
            write_network(path, WIDTHS["dense"])
            settings = params.section(Deploy, "deploy")
            model = Deployable(path, checkpoint.load(path), pixels, settings, 1, folder)
            (export_to / "dense.onnx").write_bytes(model.float_file.read_bytes())
            np.save(export_to / "images.npy", pixels)
            return
        ways = {key: call for name in WIDTHS for key, call in calls(name, folder, pixels).items()}
        if peer is not None:
            from deepcompress.deploy.engines import openvino

            ways["dense", "NNCF in openvino"] = openvino.compiled(peer, 1)
        print_machine(rounds)
        for batch in (1, 32):
            images = np.ascontiguousarray(pixels[:batch])
            tasks = {" ".join(key): partial(call, images) for key, call in ways.items()}
            found = latency.interleaved(tasks, rounds=rounds if batch == 1 else rounds // 4, clock=time.process_time)
            for name, taken in found.items():
                faster = spread(ratios(found[" ".join(PLAIN)], taken), "x")
                print_line(f"{batch:>2} {name}", f"{spread(taken, ' ms')}; {faster}")


if __name__ == "__main__":
    main()
