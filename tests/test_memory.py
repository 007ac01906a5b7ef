"""More data than memory: the same results from images in a file, and a peak that the budget bounds, not the data.

`python -m tests.test_memory FILE MIB` runs all that reads stored images, and writes of each its highest anonymous
memory less that before it [MiB], and a checksum of what came out. Resident memory would count mapped pages of the files
too, which the system takes back when it needs them.
"""

import ctypes
import gc
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepcompress import runtime
from deepcompress.data.augment import Augment, Jitter
from deepcompress.data.batches import Batches
from deepcompress.data.heldout import open_heldout
from deepcompress.data.store import Arrays, Fit, Part, Source, open_fit, sampled, write_fit, write_heldout
from deepcompress.explain.robustness import jittered
from deepcompress.measure import accuracy, passes
from deepcompress.models import checkpoint
from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG
from deepcompress.training import loop, run
from deepcompress.training.loop import CrossEntropy
from deepcompress.training.recipe import Recipe
from deepcompress.training.run import training_data
from tests import nets, processes
from tests.nets import VIEW

SIDE, CLASSES = 128, ("ant", "bee")
PART_MIB = 96
IMAGES = PART_MIB * 2**20 // (SIDE * SIDE * 3)  # in each of the three parts
BATCH = 16
MODEL = Path("model.safetensors")
OWN = {"batch_size": BATCH, "optimizer": "sgd", "augment": Augment(flip=True, crop_padding=2)}
RECIPE = Recipe(**nets.RECIPE | OWN)


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


def write(budget_mib: int) -> list[bytes]:
    meta = write_fit(Path("fit"), source(), validation_fraction=0.5, seed=0)
    write_heldout(Path("heldout"), source(), meta=meta)
    return [Path("fit/meta.json").read_bytes()]


def trained(recipe: Recipe, budget_mib: int) -> tuple[VGG, bytes]:
    """A network and the history of its training."""
    model, fabric = network(), runtime.start(runtime.Train(device="cpu", precision="32-true"), 0)
    with run.TrainingRun(Path("fit"), VIEW, budget_mib) as data:
        origin = {"stage": "finetune", "seed": 0}
        record = data.train(model, CrossEntropy(), recipe, fabric=fabric, provenance=origin)
    return model, json.dumps(record.rows()).encode()


def train(budget_mib: int) -> list[bytes]:
    model, history = trained(RECIPE, budget_mib)
    checkpoint.save(MODEL, model, view=VIEW, classes=CLASSES, provenance={})
    return [history, MODEL.read_bytes()]


def train_head(budget_mib: int) -> list[bytes]:
    head = {"trainable": "head", "augment": Augment(), "feature_budget_mib": 0}
    model, _ = trained(RECIPE.model_copy(update=head), budget_mib)
    return [tensor.numpy().tobytes() for tensor in model.state_dict().values()]


def evaluate(budget_mib: int) -> list[bytes]:
    heldout = open_heldout(Path("heldout"), budget_mib)
    images = passes.Images("held-out data", heldout.arrays, CLASSES, "")
    return [passes.measure(MODEL, images, batch_size=BATCH, device=torch.device("cpu")).logits.numpy().tobytes()]


def recolour(budget_mib: int) -> list[bytes]:
    return [answers(jittered(open_fit(Path("fit"), budget_mib).validation, Jitter(brightness=0.4, hue=0.1), seed=0))]


def sample(budget_mib: int) -> list[bytes]:
    return [answers(sampled(open_fit(Path("fit"), budget_mib).validation, IMAGES - 1, seed=0))]


def load_whole(budget_mib: int) -> list[bytes]:
    """What nobody does: it shows that the measurement would tell."""
    return [np.array(open_fit(Path("fit"), budget_mib).train.images).tobytes()[:1]]


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


CONSUMERS: dict[str, Callable[[int], list[bytes]]] = {
    function.__name__: function for function in (write, train, train_head, evaluate, recolour, sample, load_whole)
}


def main(file: Path, budget_mib: int) -> None:
    """Run all consumers, one after the other."""
    torch.set_num_threads(1)
    warm_up()
    measured: dict[str, Any] = {}
    for name, consumer in CONSUMERS.items():
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        with watched() as peak_mib:
            output = b"".join(consumer(budget_mib))
        measured[name] = {"peak_mib": peak_mib(), "checksum": hashlib.sha256(output).hexdigest()}
    file.write_text(json.dumps(measured))


@contextmanager
def watched() -> Iterator[Callable[[], float]]:
    """How far anonymous memory rises above its start at the most [MiB], as another process sees it all the time.

    A thread of this one would not do: what two threads allocate in turn leaves gaps in the heap, now and then as many
    as the data is large.
    """
    watch = [sys.executable, "-c", WATCH, str(os.getpid())]
    with subprocess.Popen(watch, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        start, peaks = float(watching.stdout.readline()), list[float]()
        yield lambda: peaks[0] - start
        peaks.append(float(watching.communicate()[0]))


# Resident memory that is no page of a file: the system cannot take it back. Told at the start; the most, at the end.
WATCH = """
import select, sys
def anonymous_mib():
    lines = open(f"/proc/{sys.argv[1]}/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024
highest = anonymous_mib()
print(highest, flush=True)
while not select.select([sys.stdin], [], [], 0.001)[0]:
    highest = max(highest, anonymous_mib())
print(highest)
"""
BUDGET_MIB = PART_MIB // 4
ALLOWANCE_MIB = 20  # batches on their way, model, optimizer, what torch and Python keep
AMPLE_MIB = 16 * PART_MIB
REAL = [name for name in CONSUMERS if name != "load_whole"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def start(folder: Path, mib: int) -> subprocess.Popen[str]:
    """All consumers in a process of their own, with that budget."""
    folder.mkdir()
    return processes.start(folder, "-m", "tests.test_memory", "measured.json", str(mib))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    """By budget, then by consumer, from two processes at the same time."""
    folder = tmp_path_factory.mktemp("memory")
    running = {mib: start(folder / str(mib), mib) for mib in (BUDGET_MIB, AMPLE_MIB)}
    for process in running.values():
        printed = process.communicate(timeout=500)[0]
        assert process.returncode == 0, printed
    return {mib: json.loads((folder / str(mib) / "measured.json").read_text()) for mib in running}


@pytest.mark.parametrize("consumer", REAL)
def test_data_of_four_times_the_budget_gives_the_same_result_within_it(measured: dict[int, Any], consumer: str) -> None:
    assert measured[BUDGET_MIB][consumer]["checksum"] == measured[AMPLE_MIB][consumer]["checksum"]
    assert measured[BUDGET_MIB][consumer]["peak_mib"] < BUDGET_MIB + ALLOWANCE_MIB


def test_the_peak_shows_images_that_are_loaded_whole(measured: dict[int, Any]) -> None:
    assert BUDGET_MIB + ALLOWANCE_MIB < PART_MIB
    assert measured[BUDGET_MIB]["load_whole"]["peak_mib"] > PART_MIB / 2
    for consumer in ("recolour", "sample"):  # copies within the budget are in memory
        assert measured[AMPLE_MIB][consumer]["peak_mib"] > PART_MIB / 2


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
