"""What each consumer of stored images adds to a process's peak memory: `python -m tests.memory FILE`, for test_memory.

Runs in a folder with params.yaml and writes, by consumer, its highest resident memory less that before it [MiB], and
a checksum of what came out. Resident memory counts mapped pages of files too.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepcompress import runtime
from deepcompress.data.augment import Augment, Jitter
from deepcompress.data.batches import Batches, View
from deepcompress.data.heldout import open_heldout
from deepcompress.data.sampling import sampled
from deepcompress.data.store import Arrays, Fit, Part, Source, open_fit, write_fit, write_heldout
from deepcompress.measure import accuracy, passes
from deepcompress.measure.jittered import jittered
from deepcompress.models import checkpoint
from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG
from deepcompress.training import loop, run
from deepcompress.training.inputs import training_data
from deepcompress.training.objective import CrossEntropy
from deepcompress.training.recipe import Recipe

SIDE, CLASSES = 128, ("ant", "bee")
PART_MIB = 96
IMAGES = PART_MIB * 2**20 // (SIDE * SIDE * 3)  # in each of the three parts
BATCH = 16
VIEW = View(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
MODEL = Path("model.safetensors")
RECIPE = Recipe(
    trainable="all",
    epochs=2,
    batch_size=BATCH,
    optimizer="sgd",
    learning_rate=0.01,
    weight_decay=0.0,
    schedule="constant",
    augment=Augment(flip=True, crop_padding=2),
)


def source() -> Source:
    """Noise, made image by image."""

    def part(images: int, number: int) -> Part:
        def read(index: int) -> np.ndarray:
            return np.random.default_rng([number, index]).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)

        return Part(np.arange(images, dtype=np.int64) % len(CLASSES), read)

    return Source(CLASSES, part(2 * IMAGES, 0), part(IMAGES, 1), {"source": "noise", "checksum": "none"})


def network() -> VGG:
    torch.manual_seed(0)
    return VGG(VGGSpec("vgg11", True, (4, 8, 16, 16, 32, 32, 32, 32), (16, 16), len(CLASSES), VIEW.size, 0.0))


def write() -> list[bytes]:
    meta = write_fit(Path("fit"), source(), validation_fraction=0.5, seed=0)
    write_heldout(Path("heldout"), source(), meta=meta)
    return [Path("fit/meta.json").read_bytes()]


def train() -> list[bytes]:
    model, fabric = network(), runtime.start(runtime.Train(device="cpu", precision="32-true"), 0)
    origin = {"stage": "finetune", "seed": 0}
    data = run.Data(Path("fit"), VIEW)
    record = run.run(model, CrossEntropy(), data, RECIPE, fabric=fabric, origin=origin)
    data.forget()
    checkpoint.save(MODEL, model, view=VIEW, classes=CLASSES, provenance={})
    return [json.dumps(record.rows()).encode(), MODEL.read_bytes()]


def train_head() -> list[bytes]:
    model, fabric = network(), runtime.start(runtime.Train(device="cpu", precision="32-true"), 0)
    recipe = RECIPE.model_copy(update={"trainable": "head", "augment": Augment(), "feature_budget_mib": 0})
    origin = {"stage": "finetune", "seed": 0}
    data = run.Data(Path("fit"), VIEW)
    run.run(model, CrossEntropy(), data, recipe, fabric=fabric, origin=origin)
    data.forget()
    return [tensor.numpy().tobytes() for tensor in model.state_dict().values()]


def evaluate() -> list[bytes]:
    heldout = open_heldout(Path("heldout"))
    images = passes.Images("held-out data", heldout.arrays, CLASSES, "")
    return [passes.measure(MODEL, images, batch_size=BATCH, device=torch.device("cpu")).logits.numpy().tobytes()]


def recolour() -> list[bytes]:
    return [answers(jittered(open_fit(Path("fit")).validation, Jitter(brightness=0.4, hue=0.1), seed=0))]


def sample() -> list[bytes]:
    return [answers(sampled(open_fit(Path("fit")).validation, IMAGES - 1, seed=0))]


def answers(arrays: Arrays) -> bytes:
    return accuracy.logits(checkpoint.load(MODEL).model, Batches(arrays, VIEW, batch_size=BATCH))[0].numpy().tobytes()


def warm_up() -> None:
    """Have torch allocate what it keeps, with a handful of images."""
    pixels = np.zeros((BATCH + 1, SIDE, SIDE, 3), np.uint8)
    arrays = Arrays(pixels, np.arange(len(pixels), dtype=np.int64) % len(CLASSES))
    fabric = runtime.start(runtime.Train(device="cpu", precision="32-true"), 0)
    few = training_data(Fit(arrays, arrays, None), VIEW, RECIPE, device="cpu", seed=0)  # type: ignore[arg-type]
    loop.train(network(), CrossEntropy(), few, RECIPE, fabric=fabric, seed=0)
    jittered(arrays, Jitter(brightness=0.4, hue=0.1), seed=0)


CONSUMERS: dict[str, Callable[[], list[bytes]]] = {
    function.__name__: function for function in (write, train, train_head, evaluate, recolour, sample)
}


def main(file: Path) -> None:
    """Run all consumers, one after the other."""
    torch.set_num_threads(1)
    warm_up()
    found: dict[str, Any] = {}
    for name, consumer in CONSUMERS.items():
        start = reset_peak()
        came_out = hashlib.sha256(b"".join(consumer())).hexdigest()
        found[name] = {"peak_mib": status_mib("VmHWM") - start, "checksum": came_out}
    file.write_text(json.dumps(found))


def reset_peak() -> float:
    """Give back what is free, let the peak start anew, and tell the resident memory [MiB]."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return status_mib("VmRSS")


def status_mib(key: str) -> float:
    """A line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]))
