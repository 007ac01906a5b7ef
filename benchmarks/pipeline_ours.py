"""Our way of `benchmarks.pipeline`: the pipeline's own stages, with all that they check, hash and write."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks.pipeline_items import FIT, Item, Made, cpu_seconds
from benchmarks.pipeline_setup import inside
from deepcompress import files
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


def make(item: Item, folder: Path) -> Made:
    """Run the stage that makes an item.

    Args:
        item: What to make; those that it needs have been made in the same folder.
        folder: Filled by `pipeline_setup.write`.
    """
    model, table = Path("models", *item.words, item.kind), Path("tables", *item.words, item.kind)
    places = {"model": f"{model}.safetensors", "table": f"{table}.csv", "more": f"{table}-more.csv"}
    name, *options = STAGES[item.kind].format(words=item.words, **places).split()
    stage = import_module(f"stages.{name}").main
    with inside(folder):
        seconds = cpu_seconds(partial(stage, ["--fit", str(FIT), *options], standalone_mode=False))
        if item.kind == "sensitivity":
            rows = files.read_rows(places["table"])
            return Made(seconds, [row["right"] for row in rows if row["sparsity"] > 0], {})
        weights = checkpoint.load(places["model"]).model.state_dict()
        return Made(seconds, _right(item, places), {name: tensor.numpy() for name, tensor in weights.items()})


def _right(item: Item, places: dict[str, str]) -> list[int]:
    """Right answers after each epoch and, of a quantized model, after rounding, from the stage's tables."""
    rows = [] if item.words[:1] == ("ptq",) else files.read_rows(places["table"])
    if item.kind == "quantize":
        rows += files.read_rows(places["more"])
    images = len(np.load(FIT / "validation_labels.npy"))
    return [round(row["validation_top1_pct"] * images / 100) for row in rows]
