"""The plain way of `benchmarks.pipeline`, item by item: reads what one needs, makes it, and writes the model."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import chdir
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from benchmarks.pipeline_items import FIT, Item, Made, cpu_seconds
from benchmarks.plain import distilling, pruning, quantizing, training
from benchmarks.plain.images import Data
from benchmarks.plain.networks import VGG, network
from deepcompress import params
from deepcompress.runtime import derived_seed


def make(item: Item, folder: Path, *, channels_last: bool) -> Made:
    """An item, as `pipeline.ours` makes it; torch's default memory is channels first."""
    with chdir(folder):
        way, right = _Plain(channels_last=channels_last), []
        way.outputs.mkdir(exist_ok=True)
        work: Callable[..., list[int]] = getattr(way, item.kind)
        seconds = cpu_seconds(lambda: right.extend(work(*item.words)))
        return Made(seconds, right, {name: tensor.numpy() for name, tensor in way.saved.items()})


class _Plain:
    """A method per kind of item; each gives the validation images answered right."""

    def __init__(self, *, channels_last: bool) -> None:
        self.params, self.seed = params.read(), params.seed()
        self.saved: dict[str, Any] = {}
        self._channels_last = channels_last
        self.outputs = Path("plain-channels_last" if channels_last else "plain")

    @cached_property
    def data(self) -> Data:
        """Read while the item is made, so that reading counts."""
        return Data(FIT, self.params["model"]["image_size"], channels_last=self._channels_last)

    def finetune(self) -> list[int]:
        model = self._network(self.params["model"])
        right = training.finetune_head_(model, self.data, self.params["finetune"], seed=self.seed)
        return self._save(model, "finetune", right)

    def sensitivity(self, method: Any) -> list[int]:
        right = pruning.sensitivity(
            self._network(self.params["model"], "finetune"), self.data, method, self.params["sensitivity"]
        )
        (self.outputs / f"{method}.json").write_text(json.dumps(right), encoding="utf-8")
        return [count for counts in right.values() for count in counts[1:]]  # the first is the dense model's

    def prune(self, sparsity: str) -> list[int]:
        model, settings = self._network(self.params["model"], "finetune"), self.params["prune"]
        right = json.loads((self.outputs / "unstructured.json").read_text(encoding="utf-8"))
        curves = pruning.curves(model, right, self.params["sensitivity"]["sparsities"], len(self.data.validation))
        right = pruning.prune_and_finetune_(model, self.data, curves, float(sparsity), settings, seed=self.seed)
        return self._save(model, f"pruned-{sparsity}", right)

    def quantize(self, mode: str, form: str) -> list[int]:
        model, settings = self._network(self.params["model"], "finetune"), self.params["quant"]
        if mode == "ptq":
            right = quantizing.after_training_(model, self.data, form, settings)
        else:
            right = quantizing.in_training_(model, self.data, form, settings, seed=self.seed)
        return self._save(model, f"{mode}-{form}", right)

    def teacher(self, name: str) -> list[int]:
        section = self.params["teachers"][name]
        model = self._network(section)
        right = training.finetune_head_(model, self.data, section["recipe"], seed=self.seed)
        return self._save(model, name, right)

    def student(self, method: str, name: str) -> list[int]:
        how, section = self.params["distill"], self.params["teachers"][name]
        student = self._network(how["student"])
        observed = (
            distilling.Observed(student, how["student"]["arch"]),
            distilling.Observed(self._network(section, name), section["arch"]),
        )
        start, seed = Path(f"start/{method}-{name}.safetensors"), derived_seed(self.seed, "student")
        right = distilling.distil_(observed, self.data, method, how, start, seed=seed)
        return self._save(student, f"{method}-{name}", right)

    def _network(self, section: dict[str, Any], made: str | None = None) -> VGG:
        """Of a section with its starting weights, or with those that an item left."""
        weights = section["weights"] if made is None else self.outputs / f"{made}.safetensors"
        return network(section, self.data.classes, Path(weights), channels_last=self._channels_last)

    def _save(self, model: VGG, name: str, right: list[int]) -> list[int]:
        self.saved = {key: tensor.detach().contiguous() for key, tensor in model.state_dict().items()}
        save_file(self.saved, self.outputs / f"{name}.safetensors")
        return right
