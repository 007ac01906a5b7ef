"""What pruning brings in speed: the dense model, the same with zeros in it, and the one without the channels.

Reads models that the pipeline made, so run `dvc repro` first. Batches of 32 as a server takes them, and single
images, in turn.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch

from benchmarks.interleaved import interleave, print_line, print_machine, print_speedup, spread
from deepcompress.measure.cost import layer_macs
from deepcompress.models import checkpoint
from deepcompress.models.vgg import VGG

MODELS = {
    "dense": "baseline",
    "zeros, single weights": "pruned/unstructured-0.5",
    "zeros, whole channels": "masked/structured-0.5",
    "channels removed": "pruned/structured-0.5",
}


def load(folder: Path) -> dict[str, VGG]:
    """The models in evaluation mode and channels_last memory."""
    paths = {name: folder / f"{model}.safetensors" for name, model in MODELS.items()}
    return {name: checkpoint.load(path).model.to(memory_format=torch.channels_last) for name, path in paths.items()}


@click.command()
@click.option("--models", "folder", type=Path, default=Path("models"), show_default=True)
@click.option("--batch", "batches", multiple=True, default=[1, 32], show_default=True, help="Images at once.")
@click.option("--passes", default=20, show_default=True, help="Forward passes per round.")
@click.option("--repeats", default=9, show_default=True)
@torch.inference_mode()
def main(folder: Path, batches: tuple[int, ...], passes: int, repeats: int) -> None:
    """Print milliseconds per batch of each model, and how many times faster than the dense one it is."""
    models = load(folder)
    print_machine(repeats)
    for name, model in models.items():
        print_line(name, f"{sum(layer_macs(model).values()):,} MACs per image")
    for batch in batches:
        size = next(iter(models.values())).spec.image_size
        images = torch.randn(batch, 3, size, size).to(memory_format=torch.channels_last)
        ways = {
            name: lambda model=model, images=images: [model(images) for _ in range(passes)]
            for name, model in models.items()
        }
        seconds = interleave(ways, repeats)
        for name, values in seconds.items():
            print_line(f"batch {batch}: {name}", spread([1000 * value / passes for value in values], " ms"))
        for name in [*models][1:]:
            print_speedup(seconds, ours=name, plain="dense")


if __name__ == "__main__":
    main()
