"""The source report's whole protocol, small, by the pipeline's stages and the plain way: CPU time, stage by stage.

Fine-tuning of the last layer, sensitivity of every layer at six sparsities by both methods, pruning at five sparsities
with fine-tuning, quantization to four formats after and in training, two teachers, and five students of each. Grad-CAM,
latency and the students without a teacher, which cost both ways the same, are left out.

The ways take turns item by item, each in a process with one thread; starting Python and imports count for neither.
The plain way (benchmarks/plain) reads the same params.yaml and starting weights, sees the same images in the same
order and draws the same random numbers; each way goes on from its own earlier models. So rounding alone tells results
apart, and training makes more of it: Adam turns the sign of a gradient near zero into a whole step, and a weight on the
edge of two values of int4 goes either way. How much, a third way measures: the plain way with channels_last memory,
which does the same sums in another order. Our accuracies are equal to the plain way's if they are at most twice as far
from them as its own are then, of all items of the kind, or one image; weights, if the worst tensor is within 3 % of its
norm or that distance: another seed moves it by a third and more.
"""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, chdir, contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks import pipeline_setup
from benchmarks.pipeline_items import FIT, Item, Made, Trio, cpu_seconds, equal_row, far, items
from benchmarks.plain import items as plain_items
from benchmarks.printing import print_line, print_machine, spread
from deepcompress import files
from deepcompress.errors import Command
from deepcompress.models import checkpoint

BASELINE = "models/finetune.safetensors"
CURVES = "tables/unstructured/sensitivity.csv"
STAGES = {  # by kind of item: the stage, and its options; model, table and more lie in a folder of the item's own
    "finetune": "finetune --model {model} --history {table}",
    "sensitivity": f"sensitivity --source {BASELINE} --method {{words[0]}} --table {{table}}",
    "prune": f"prune --source {BASELINE} --curves {CURVES} --method unstructured --sparsity {{words[0]}}"
    " --model trained {model} --table history {table}",
    "quantize": f"quantize --source {BASELINE} --variant {{words[0]}}-{{words[1]}} --model {{model}}"
    " --history {table} --table {more}",
    "teacher": "train_teacher --key teachers.{words[0]} --model {model} --history {table}",
    "student": "distill --method {words[0]} --teacher models/{words[1]}/teacher.safetensors --model {model}"
    " --history {table}",
}
THREADS = 1

Ways = Mapping[str, Callable[[Item], Made]]
"""Those of WAYS, in a folder."""


def ours(item: Item, folder: Path) -> Made:
    """An item by the pipeline's own stage, with all that this checks, hashes and writes.

    Args:
        item: What to make; those that it needs have been made in the same folder.
        folder: Filled by `pipeline_setup.write`.
    """
    model, table = Path("models", *item.words, item.kind), Path("tables", *item.words, item.kind)
    places = {"model": f"{model}.safetensors", "table": f"{table}.csv", "more": f"{table}-more.csv"}
    name, *options = STAGES[item.kind].format(words=item.words, **places).split()
    stage = import_module(f"stages.{name}").main
    with chdir(folder):
        seconds = cpu_seconds(partial(stage, ["--fit", str(FIT), *options], standalone_mode=False))
        if item.kind == "sensitivity":
            rows = files.read_rows(places["table"])
            return Made(seconds, [row["right"] for row in rows if row["sparsity"] > 0], {})
        rows = [] if item.words[:1] == ("ptq",) else files.read_rows(places["table"])  # of each epoch
        rows += files.read_rows(places["more"]) if item.kind == "quantize" else []  # and of rounding
        images = len(np.load(FIT / "validation_labels.npy"))
        right = [round(row["validation_top1_pct"] * images / 100) for row in rows]
        weights = checkpoint.load(places["model"]).model.state_dict()
        return Made(seconds, right, {name: tensor.numpy() for name, tensor in weights.items()})


WAYS: dict[str, Callable[[Item, Path], Made]] = {
    "plain": partial(plain_items.make, channels_last=False),
    "twin": partial(plain_items.make, channels_last=True),
    "ours": ours,
}


def run_round(ways: Ways, first: int) -> list[Trio]:
    """Make every item by every way, in turn; another way begins with each, first the one of that number."""
    trios, names = [], list(WAYS)
    for number, item in enumerate(items(), first):
        at = number % len(names)
        made = {name: ways[name](item) for name in (*names[at:], *names[:at])}
        trios.append(Trio(item, **made))
        times = ", ".join(f"{name} {one.seconds:.2f} s" for name, one in made.items())
        print(" ".join([item.kind, *item.words]), times, far(trios[-1:]), sep=": ", file=sys.stderr, flush=True)
    return trios


@contextmanager
def processes() -> Iterator[Callable[[Path], Ways]]:
    """A process per way; gives a function from a folder to the ways that work in it."""
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pools = {name: stack.enter_context(ProcessPoolExecutor(1, context, _prepare)) for name in WAYS}

        def make(name: str, folder: Path, item: Item) -> Made:
            return pools[name].submit(WAYS[name], item, folder).result()

        yield lambda folder: {name: partial(make, name, folder) for name in WAYS}


def table(rounds: list[list[Trio]]) -> list[str]:
    """A line per stage and one for all: CPU seconds of each way (median of the rounds), ratios, and equality."""
    rows = list(dict.fromkeys(trio.item.row for trio in rounds[0]))
    lines = [f"{'stage':<28}{'plain s':>9}{'twin s':>9}{'ours s':>9}{'plain':>8}{'twin':>8}  equal?"]
    equal = {row: equal_row([trio for trios in rounds for trio in trios], row) for row in rows}
    for row in [*rows, "total"]:
        chosen = [[trio for trio in trios if row in (trio.item.row, "total")] for trios in rounds]
        plain, twin, ours = (float(np.median([_sum(trios, way) for trios in chosen])) for way in WAYS)
        numbers = f"{row:<28}{plain:>9.2f}{twin:>9.2f}{ours:>9.2f}{plain / ours:>7.2f}x{twin / ours:>7.2f}x"
        verdict = "yes" if equal.get(row, all(equal.values())) else "NO"
        lines.append(f"{numbers}  {verdict}: {far([trio for trios in chosen for trio in trios])}")
    return lines


@click.command(cls=Command)
@click.option("--quick", is_flag=True, help="Tiny networks and few images: seconds, for a test; its times say nothing.")
@click.option(
    "--per-class", default=pipeline_setup.FULL.per_class, show_default=True, help="Images of each of 20 classes."
)
@click.option("--repeats", default=1, show_default=True, help="Rounds of the whole protocol; one takes minutes.")
def main(quick: bool, per_class: int, repeats: int) -> None:
    """CPU seconds by stage, ours and plain, and whether both end with the same models."""
    os.environ["OMP_NUM_THREADS"] = str(THREADS)  # of the processes to come
    torch.set_num_threads(THREADS)
    scale = pipeline_setup.QUICK if quick else dataclasses.replace(pipeline_setup.FULL, per_class=per_class)
    print_machine(repeats)
    print(scale, flush=True)
    with processes() as ways, tempfile.TemporaryDirectory() as name:
        if not quick:
            _rounds(Path(name, "quick"), pipeline_setup.QUICK, ways, 1)  # loads what a process loads once
        rounds = _rounds(Path(name, "full"), scale, ways, repeats)
        images = len(np.load(Path(name, "full", "start", FIT, "validation_labels.npy")))
    print(f"accuracies are counts of {images} validation images; twin: the plain way with channels_last memory")
    print("\n".join(table(rounds)))
    for way, said in (("plain", "total, ours vs plain"), ("twin", "total, ours vs twin")):
        print_line(said, spread([_sum(trios, way) / _sum(trios, "ours") for trios in rounds], "x"))
    top1 = {trio.item.row: 100 * trio.ours.right[-1] / images for trio in rounds[0] if trio.ours.weights}
    print_line(
        "top-1 of each stage's last [%]", ", ".join(f"{row.split(',')[0]} {pct:.0f}" for row, pct in top1.items())
    )


def _rounds(folder: Path, scale: pipeline_setup.Scale, ways: Callable[[Path], Ways], repeats: int) -> list[list[Trio]]:
    """Each in a copy of what all start from."""
    start, rounds = folder / "start", []
    start.mkdir(parents=True)
    pipeline_setup.write(start, scale)
    for number in range(repeats):
        own = shutil.copytree(start, folder / f"round{number}")
        rounds.append(run_round(ways(own), number))
    return rounds


def _prepare() -> None:
    torch.set_num_threads(THREADS)
    logging.disable(logging.INFO)


def _sum(trios: list[Trio], way: str) -> float:
    return sum(getattr(trio, way).seconds for trio in trios)


if __name__ == "__main__":
    main()
