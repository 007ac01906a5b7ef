"""A sensitivity scan of VGG-11: ours in one pass, and a full pass with pruned weights per layer and sparsity.

The plain way is what a course teaches: torch.nn.utils.prune on one layer, an evaluation, the weights put back.
Both prune the same layers at the same sparsities and must count the same right answers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import click
import torch

from benchmarks.batches import random_arrays, vgg11
from benchmarks.plain.pruning import prune_layer_, trials
from benchmarks.printing import print_line, print_machine, print_speedup, spread
from deepcompress.data.batches import Batches, View
from deepcompress.data.store import Arrays
from deepcompress.errors import Command
from deepcompress.measure import accuracy
from deepcompress.measure.passes import MS_PER_SECOND, interleaved
from deepcompress.models.vgg import VGG, prunable_layers
from deepcompress.pruning.criteria import l1, l2_channel
from deepcompress.pruning.layers import in_scope
from deepcompress.pruning.masks import LayerView
from deepcompress.pruning.sensitivity import scan
from deepcompress.pruning.settings import GRANULARITY, Method

CRITERIA = {"unstructured": l1, "structured": l2_channel}
Counts = list[tuple[str, int]]  # layer, right answers; a row per layer and sparsity


def make_model(width: float, size: int) -> VGG:
    """VGG-11 without batch norm, with weights as wide as keep the answers of layers alive."""
    torch.manual_seed(0)
    model = vgg11(width=width, size=size, batch_norm=False).eval()
    for name, layer in prunable_layers(model).items():
        if name.startswith("classifier"):
            torch.nn.init.kaiming_normal_(layer.weight)
    return model


def make_batches(model: VGG, images: int, size: int, batch_size: int) -> Batches:
    """Random images; their labels are what the dense model answers, so that pruning has something to lose."""
    arrays, view = random_arrays(images, 32), View(size, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    answers, _ = accuracy.logits(model, Batches(arrays, view, batch_size=batch_size))
    return Batches(Arrays(arrays.images, answers.argmax(1).numpy()), view, batch_size=batch_size)


def our_scan(model: VGG, batches: Batches, method: Method, sparsities: Sequence[float]) -> Counts:
    """One pass over the images for all layers and sparsities."""
    granularity, layers = GRANULARITY[method], in_scope(model, method, "all")
    views = {name: LayerView(name, layer.weight.detach(), granularity) for name, layer in layers.items()}
    scores = {name: CRITERIA[method].scores(view) for name, view in views.items()}
    rows = scan(model, batches, scores, sparsities, granularity=granularity)
    return [(row["layer"], row["right"]) for row in rows]


def plain_scan(
    model: VGG, batches: Batches, method: Method, sparsities: Sequence[float], seconds_pruning: list[float]
) -> Counts:
    """A full pass for each layer and sparsity."""
    seconds_pruning.append(0.0)

    def prune_(layer: torch.nn.Module, sparsity: float) -> None:
        start = time.perf_counter()
        prune_layer_(layer, method, sparsity)
        seconds_pruning[-1] += time.perf_counter() - start

    def right() -> int:
        return int(accuracy.top_k_correct(*accuracy.logits(model, batches)).sum())

    found = trials(in_scope(model, method, "all"), right, prune_, sparsities)
    return [(name, count) for name, counts in found.items() for count in counts]


@click.command(cls=Command)
@click.option("--images", default=32, show_default=True)
@click.option("--batch-size", default=32, show_default=True)
@click.option("--size", default=224, show_default=True, help="Side of the network's input, px.")
@click.option("--width", default=1.0, show_default=True, help="Multiplies every layer's width.")
@click.option("--method", "methods", multiple=True, default=list(CRITERIA), type=click.Choice(list(CRITERIA)))
@click.option("--sparsities", default=10, show_default=True, help="0, 0.1 and so on; at most 10.")
@click.option("--repeats", default=1, show_default=True, help="Rounds; one takes minutes.")
@torch.no_grad()
def main(
    images: int,
    batch_size: int,
    size: int,
    width: float,
    methods: tuple[Method, ...],
    sparsities: int,
    repeats: int,
) -> None:
    """Print how many times faster one pass is than one per layer and sparsity."""
    model = make_model(width, size)
    batches = make_batches(model, images, size, batch_size)
    grid = [tenth / 10 for tenth in range(sparsities)]
    print_machine(repeats)
    print(f"VGG-11, width {width:g}, {size} px, {images} images in batches of {batch_size}; sparsities {grid}")
    for method in methods:
        _report(model, batches, method, grid, repeats)


def _report(model: VGG, batches: Batches, method: Method, grid: Sequence[float], repeats: int) -> None:
    pruning: list[float] = []
    found: list[Counts] = []
    ways = {
        f"{method}, ours": lambda: found.append(our_scan(model, batches, method, grid)),
        f"{method}, plain": lambda: found.append(plain_scan(model, batches, method, grid, pruning)),
    }
    times = interleaved(ways, warm_up=0, rounds=repeats)  # one round takes minutes
    for name, values in times.items():
        print_line(name, spread(values / MS_PER_SECOND, " s"))
    print_line("  of it making masks, plain", spread(pruning, " s"))
    ours, plain = ways
    print_speedup(times, ours=ours, plain=plain)
    different = sum(one != other for counts in found[1:] for one, other in zip(found[0], counts, strict=True))
    print_line("right answers", f"{len(found[0])} counts, {different or 'none'} of them different")


if __name__ == "__main__":
    main()
