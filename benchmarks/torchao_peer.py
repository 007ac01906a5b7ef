"""torchao's own `quantize_` beside our rounding after training: same baseline, same bits, same weights per scale.

Reads data and baseline that the pipeline made, so run `dvc repro` first; measures on validation images. torchao gets
what it has for weights alone: `IntxWeightOnlyConfig` with symmetric integers, in all convolutions and linear layers,
a scale per `group` inputs where that divides them, else one per output; it looks at no image. Bytes are those of the
file that each writes; time is CPU time of one image in eager PyTorch, in turn.
"""

from __future__ import annotations

import copy
import dataclasses
import io
import tempfile
import time
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from torch import nn

from benchmarks.peers import Baseline, inputs
from benchmarks.printing import print_line, print_machine
from deepcompress import params, runtime
from deepcompress.errors import Command
from deepcompress.measure import passes
from deepcompress.quantization import quantize
from deepcompress.quantization.settings import Quant, task
from deepcompress.training.run import TrainingRun

MAPPINGS = ("SYMMETRIC", "SYMMETRIC_NO_CLIPPING_ERR")  # its default, and the one that its notes advise at 4 bits


def theirs(model: nn.Module, bits: int, group: int | None, mapping: str) -> nn.Module:
    """A copy of a network as `quantize_` makes it."""
    from torchao.quantization import IntxWeightOnlyConfig, PerAxis, PerGroup, quantize_
    from torchao.quantization.quant_primitives import MappingType

    quantized = copy.deepcopy(model).eval()
    layers = [layer for layer in quantized.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for layer in layers:
        grouped = group is not None and layer.weight.shape[1] % group == 0
        config = IntxWeightOnlyConfig(
            weight_dtype=getattr(torch, f"int{bits}"),
            granularity=PerGroup(group) if grouped else PerAxis(0),
            mapping_type=MappingType[mapping],
        )
        quantize_(layer, config, filter_fn=lambda module, _: isinstance(module, nn.Conv2d | nn.Linear))
    return quantized


def saved_bytes(model: nn.Module) -> int:
    """Bytes of the state dict as `torch.save` writes it."""
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return file.tell()


@click.command(cls=Command)
@inputs
@click.option("--bits", "widths", multiple=True, default=[8, 4, 3], show_default=True)
@click.option("--repeats", default=20, show_default=True, help="Timed rounds.")
def main(fit: Path, baseline: Path, widths: tuple[int, ...], repeats: int) -> None:
    """Print accuracy, agreement with the baseline, bytes and time of each."""
    seed, settings = params.seed(), params.section(Quant, "quant")
    fabric, dense = runtime.start(params.section(runtime.Train, "train"), seed), Baseline(baseline, fit)
    loaded, ways = dense.loaded, {"float": dense.loaded.model}
    print_line("baseline", f"{dense.top1}, {baseline.stat().st_size:,} bytes")

    def show(name: str, model: nn.Module, size: int) -> None:
        dense.print_beside(name, model, f"{size:,} bytes")
        ways[name] = model

    for bits in widths:
        group = None if bits >= settings.channel_bits else settings.group_size
        for mapping in MAPPINGS:
            model = theirs(loaded.model, bits, group, mapping)
            show(f"torchao int{bits} {mapping.lower()}", model, saved_bytes(model))
        for rounding in ("nearest", "auto"):
            wish = task(settings.model_copy(update={"bits": bits, "mode": "ptq", "rounding": rounding}))
            start = dataclasses.replace(loaded, model=copy.deepcopy(loaded.model))
            with TrainingRun(fit, loaded.view, params.device_budget_mib()) as run:
                rounded, _ = quantize.quantize_(start, run, wish, fabric=fabric, provenance={"seed": seed})
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "model.safetensors")
                start.save_alike(path, start.model, {"seed": seed}, rounded.encodings)
                show(f"ours int{bits} {rounding}", start.model, path.stat().st_size)
    print_machine(repeats)
    pixel = next(iter(dense.batches.epoch(0))).images[:1]
    with torch.inference_mode():
        tasks = {name: partial(model.eval(), pixel) for name, model in ways.items()}
        for name, times in passes.interleaved(tasks, rounds=repeats, clock=time.process_time).items():
            print_line(name, f"{np.median(times):.2f} ms of CPU")


if __name__ == "__main__":
    main()
