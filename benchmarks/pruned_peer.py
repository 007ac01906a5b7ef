"""Filters removed by ours and by Torch-Pruning's own pruners, at the same MACs, fine-tuned alike.

Reads data and baseline that the pipeline made, so run `dvc repro` first; measures on validation images. Of
Torch-Pruning the ranking is taken, over all layers at once as its examples do; its training with a penalty before
pruning is not, for that would be more epochs.
"""

from __future__ import annotations

import copy
from pathlib import Path

import click
import torch
import torch_pruning  # type: ignore[import-untyped]

from benchmarks.peers import Baseline, inputs
from benchmarks.printing import print_line
from deepcompress import params, runtime
from deepcompress.errors import Command
from deepcompress.measure.cost import layer_macs, parameters
from deepcompress.models.vgg import VGG
from deepcompress.pruning import prune
from deepcompress.pruning.settings import Prune
from deepcompress.training import loop, run

PEERS = {"BNScalePruner": "BNScaleImportance", "GroupNormPruner": "GroupMagnitudeImportance"}
HALVINGS = 10


def macs(model: VGG) -> int:
    """Multiply-adds for one image."""
    return sum(layer_macs(model).values())


def peer(dense: VGG, name: str, target: int, round_to: int) -> VGG:
    """The dense network pruned by one of theirs, with no more than `target` MACs.

    Their ratio of channels is found by bisection; linear layers lose inputs alone, as with `scope: conv`.
    """
    low, high, best = 0.0, 0.98, copy.deepcopy(dense)
    image = torch.zeros(1, 3, dense.spec.image_size, dense.spec.image_size)
    for _ in range(HALVINGS):
        model, ratio = copy.deepcopy(dense), (low + high) / 2
        importance = getattr(torch_pruning.importance, PEERS[name])()
        linear = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
        options = {"pruning_ratio": ratio, "global_pruning": True, "round_to": round_to, "ignored_layers": linear}
        getattr(torch_pruning.pruner, name)(model, image, importance, **options).step()
        low, high, best = (low, ratio, model) if macs(model) <= target else (ratio, high, best)
    return best


@click.command(cls=Command)
@inputs
@click.option("--sparsity", "sparsities", multiple=True, default=[0.5, 0.75], show_default=True)
def main(fit: Path, baseline: Path, sparsities: tuple[float, ...]) -> None:
    """Print accuracy before and after fine-tuning, MACs and parameters of each."""
    seed, settings = params.seed(), params.section(Prune, "prune")
    fabric, dense = runtime.start(params.section(runtime.Train, "train"), seed), Baseline(baseline, fit)
    start, view, images = dense.loaded.model, dense.loaded.view, dense.fit
    data = run.training_data(images, view, settings.finetune, device=fabric.device, seed=seed)
    for sparsity in sparsities:
        how = settings.override(method="structured", sparsity=sparsity)
        ours = prune.prune(start, images, how, view=view, seed=seed, curves={}).trained
        round_to = settings.structured.round_to
        models = {"ours": ours} | {name: peer(start, name, macs(ours), round_to) for name in PEERS}
        for name, model in models.items():
            prune.recalibrate_(model, images.train, settings.recalibrate, view=view, seed=seed)
            before = dense.top1_pct(model)
            loop.train(model, loop.CrossEntropy(), data, settings.finetune, fabric=fabric, seed=seed)
            counts = f"{macs(model):,} MACs, {parameters(model)['total']:,} parameters"
            print_line(f"{sparsity:g}: {name}", f"{before:.2f} %, fine-tuned {dense.top1_pct(model):.2f} %; {counts}")


if __name__ == "__main__":
    main()
