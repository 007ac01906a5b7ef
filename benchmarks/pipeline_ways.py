"""The two ways of `benchmarks.pipeline`: the pipeline's own stages, and benchmarks/plain, item by item.

An item is one model of the protocol, or one sensitivity scan. Each way runs in a process of its own, in a folder that
`pipeline_setup.write` has filled, and goes on from its own earlier items, so that differences may add up.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.pipeline_setup import FORMATS, METHODS, PRUNED, TEACHERS, inside
from benchmarks.plain import distilling, networks, pruning, quantizing, training
from benchmarks.plain.images import Data
from deepcompress import files, params
from deepcompress.models import checkpoint
from deepcompress.runtime import derived_seed

FIT = Path("data/fit")


@dataclass(frozen=True)
class Item:
    """Something that both ways make.

    Attributes:
        row: Of the table that counts it.
        kind: finetune, sensitivity, prune, quantize, teacher or student.
        words: What distinguishes it among its kind, such as (`crd`, `vgg19`).
    """

    row: str
    kind: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Made:
    """What became of an item.

    Attributes:
        seconds: Of CPU time, of the process and its children.
        right: Validation images answered right: after each epoch, or at each point of each curve.
        weights: Of the model, by name; none of a sensitivity scan.
    """

    seconds: float
    right: list[int]
    weights: dict[str, np.ndarray]


def items() -> list[Item]:
    """The protocol, in an order in which each item finds what it needs."""
    return [
        Item("finetune", "finetune"),
        *(Item(f"sensitivity {method}", "sensitivity", (method,)) for method in ("unstructured", "structured")),
        *(Item("prune, 5 sparsities", "prune", (str(sparsity),)) for sparsity in PRUNED),
        *(Item(f"quantize {mode}, 4 formats", "quantize", (mode, form)) for mode in ("ptq", "qat") for form in FORMATS),
        *(Item("teachers, 2", "teacher", (name,)) for name in TEACHERS),
        *(Item(f"students {method}, 2", "student", (method, name)) for method in METHODS for name in TEACHERS),
    ]


def ours(item: Item, folder: Path) -> Made:
    """Run the stage that makes an item."""
    model, table = Path("models", *item.words, item.kind), Path("tables", *item.words, item.kind)
    file, rows = f"{model}.safetensors", f"{table}.csv"
    baseline = ["--source", "models/finetune.safetensors"]
    trained = ["--model", file, "--history", rows]
    name, arguments = {
        "finetune": lambda: ("finetune", trained),
        "sensitivity": lambda method: ("sensitivity", [*baseline, "--method", method, "--table", rows]),
        "prune": lambda sparsity: (
            "prune",
            [*baseline, "--curves", "tables/unstructured/sensitivity.csv", "--method", "unstructured"]
            + ["--sparsity", sparsity, "--model", "trained", file, "--table", "history", rows],
        ),
        "quantize": lambda mode, form: (
            "quantize",
            [*baseline, "--cell", f"{mode}-{form}", *trained, "--table", f"{table}-rounded.csv"],
        ),
        "teacher": lambda name: ("train_teacher", ["--key", f"teachers.{name}", *trained]),
        "student": lambda method, name: (
            "distill",
            ["--method", method, "--teacher", f"models/{name}/teacher.safetensors", *trained]
            + ["--seeds", f"{table}-seeds.csv"],
        ),
    }[item.kind](*item.words)
    stage = import_module(f"stages.{name}").main
    with inside(folder):
        seconds = _seconds(partial(stage, ["--fit", str(FIT), *arguments], standalone_mode=False))
        if item.kind == "sensitivity":
            return Made(seconds, [row["right"] for row in files.read_rows(rows) if row["sparsity"] > 0], {})
        images = len(np.load(FIT / "validation_labels.npy"))
        found = [] if item.words[:1] == ("ptq",) else files.read_rows(rows)
        if item.kind == "quantize":
            found += files.read_rows(f"{table}-rounded.csv")
        right = [round(row["validation_top1_pct"] * images / 100) for row in found]
        return Made(seconds, right, _arrays(checkpoint.load(file).model.state_dict()))


def plain(item: Item, folder: Path, *, channels_last: bool) -> Made:
    """Make an item the plain way."""
    with inside(folder):
        way = Plain(channels_last=channels_last)
        make: Callable[..., list[int]] = getattr(way, item.kind)
        right: list[int] = []
        seconds = _seconds(lambda: right.extend(make(*item.words)))
        return Made(seconds, right, _arrays(way.made))


class Plain:
    """Reads what an item needs, calls benchmarks/plain, and writes the model; a method per kind of item."""

    def __init__(self, *, channels_last: bool) -> None:
        self.params, self.channels_last = params.read(), channels_last
        self.made: dict[str, torch.Tensor] = {}

    def finetune(self) -> list[int]:
        data = self._data()
        model = self._network(self.params["model"], data, self.params["model"]["weights"])
        right = training.finetune_head_(model, data, self.params["finetune"], seed=self.params["seed"])
        return self._save(model, "finetune", right)

    def sensitivity(self, method: str) -> list[int]:
        data, model = self._baseline()
        right = pruning.sensitivity(model, data, method, self.params["sensitivity"])  # type: ignore[arg-type]
        Path("curves").mkdir(exist_ok=True)
        Path("curves", f"{method}.json").write_text(json.dumps(right), encoding="utf-8")
        return [count for counts in right.values() for count in counts[1:]]

    def prune(self, sparsity: str) -> list[int]:
        data, model = self._baseline()
        right = json.loads(Path("curves/unstructured.json").read_text(encoding="utf-8"))
        sparsities = self.params["sensitivity"]["sparsities"]
        curves = pruning.curves(right, pruning.sizes(model), sparsities, len(data.validation))
        settings, seed = self.params["prune"], self.params["seed"]
        right = pruning.prune_and_finetune_(model, data, curves, float(sparsity), settings, seed=seed)
        return self._save(model, f"pruned-{sparsity}", right)

    def quantize(self, mode: str, form: str) -> list[int]:
        data, model = self._baseline()
        if mode == "ptq":
            right = quantizing.after_training_(model, data, form, self.params["quant"])
        else:
            right = quantizing.in_training_(model, data, form, self.params["quant"], seed=self.params["seed"])
        return self._save(model, f"{mode}-{form}", right)

    def teacher(self, name: str) -> list[int]:
        data, section = self._data(), self.params["teachers"][name]
        model = self._network(section, data, section["weights"])
        right = training.finetune_head_(model, data, section["recipe"], seed=self.params["seed"])
        return self._save(model, name, right)

    def student(self, method: str, name: str) -> list[int]:
        data, how = self._data(), self.params["distill"]
        section = self.params["teachers"][name]
        teacher = distilling.Observed(self._network(section, data, f"plain/{name}.safetensors"), section["arch"])
        model = self._network(how["student"], data, how["student"]["weights"])
        student = distilling.Observed(model, how["student"]["arch"])
        seed, start = (
            derived_seed(self.params["seed"], "student", how["seeds"][0]),
            f"start/{method}-{name}.safetensors",
        )
        right = distilling.distil_((student, teacher), data, method, how, Path(start), seed=seed)
        return self._save(model, f"{method}-{name}", right)

    def _data(self) -> Data:
        return Data(FIT, self.params["model"]["image_size"], channels_last=self.channels_last)

    def _baseline(self) -> tuple[Data, Any]:
        data = self._data()
        return data, self._network(self.params["model"], data, "plain/finetune.safetensors")

    def _network(self, section: dict[str, Any], data: Data, weights: str) -> Any:
        return networks.network(section, data.classes, Path(weights), channels_last=self.channels_last)

    def _save(self, model: torch.nn.Module, name: str, right: list[int]) -> list[int]:
        self.made = {key: tensor.detach().contiguous() for key, tensor in model.state_dict().items()}
        Path("plain").mkdir(exist_ok=True)
        save_file(self.made, f"plain/{name}.safetensors")
        return right


def _seconds(work: Callable[[], object]) -> float:
    start = _cpu_seconds()
    work()
    return _cpu_seconds() - start


def _cpu_seconds() -> float:
    """Of this process, and of its children that have ended."""
    spent = os.times()
    return time.process_time() + spent.children_user + spent.children_system


def _arrays(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in state.items()}
