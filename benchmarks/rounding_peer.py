"""brevitas' own GPTQ beside our rounding after training: same baseline, bits, weights per scale and calibration images.

Reads data and baseline that the pipeline made, so run `dvc repro` first; measures on validation images. brevitas is not
among our dependencies: `pip install brevitas`. All convolutions and linear layers get its symmetric integers, with
scales from the largest weight (`max`) or from a search on the squared error of the weights (`mse`), then its GPTQ and
its bias correction, as its examples call them. It builds second moments from all inputs of the calibration images,
where we draw `quant.calibration.inputs` of them.
"""

from __future__ import annotations

import copy
import time
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn

from benchmarks.peers import Baseline, inputs
from benchmarks.printing import print_line
from deepcompress import params, runtime
from deepcompress.data.batches import Batches
from deepcompress.data.store import sampled
from deepcompress.errors import Command
from deepcompress.models.vgg import Classifier
from deepcompress.quantization import ptq
from deepcompress.quantization.quantize import assign, round_vectors_
from deepcompress.quantization.settings import Quant
from deepcompress.runtime import derived_seed
from deepcompress.training.run import TrainingRun

CELLS = ("4", "3", "2/32")
WAYS = ("brevitas max", "brevitas mse", "ours nearest", "ours auto")


@torch.no_grad()
def theirs(model: nn.Module, bits: int, group: int | None, scales: str, calibration: Batches) -> nn.Module:
    """A copy of a network as brevitas' `layerwise_quantize`, `gptq_mode` and `bias_correction_mode` make it.

    Args:
        model: On the CPU; not changed.
        bits: Of the integers.
        group: Input channels that share a scale, at each place of a kernel; None: one scale per output.
        scales: `max` or `mse`.
        calibration: Training images.
    """
    import brevitas.nn as qnn
    from brevitas.graph.calibrate import bias_correction_mode
    from brevitas.graph.gptq import gptq_mode
    from brevitas.graph.quantize import layerwise_quantize
    from brevitas.quant import scaled_int
    from brevitas_examples.common.generative import quantizers

    symmetric: dict[tuple[bool, str], Any] = {
        (False, "max"): scaled_int.Int8WeightPerChannelFloat,
        (False, "mse"): scaled_int.Int8WeightPerChannelFloatMSE,
        (True, "max"): quantizers.IntWeightSymmetricGroupQuant,
        (True, "mse"): quantizers.IntWeightSymmetricGroupQuantMSE,
    }
    chosen = {"weight_quant": symmetric[group is not None, scales], "return_quant_tensor": False}
    chosen |= {"weight_bit_width": bits, "weight_narrow_range": False}
    chosen |= {} if group is None else {"weight_group_size": group}
    kinds = {nn.Conv2d: (qnn.QuantConv2d, chosen), nn.Linear: (qnn.QuantLinear, chosen)}
    quantized = layerwise_quantize(copy.deepcopy(model).eval(), kinds)
    quantized(next(iter(calibration.epoch(0))).images)  # sets the scales
    with gptq_mode(quantized, create_weight_orig=False, use_quant_activations=False) as gptq:
        for _ in range(gptq.num_layers):
            for batch in calibration.epoch(0):
                gptq.model(batch.images)
            gptq.update()
    with bias_correction_mode(quantized):
        for batch in calibration.epoch(0):
            quantized(batch.images)
    return quantized


def ours(model: Classifier, bits: int, group: int | None, rounding: str, run: TrainingRun, quant: Quant) -> nn.Module:
    """A copy of a network as stage quantize makes it."""
    options = quant.model_copy(update={"rounding": rounding})
    formats = assign(model, f"int{bits}", group_size=group)
    quantized = ptq.quantize(model, formats, run, options, seed=params.seed())
    rounded = copy.deepcopy(model)
    ptq.assign_(rounded, quantized)
    round_vectors_(rounded)
    return rounded


@click.command(cls=Command)
@inputs
@click.option(
    "--cell", "cells", multiple=True, default=CELLS, show_default=True, help="Bits, or bits/weights per scale."
)
@click.option("--way", "ways", multiple=True, default=WAYS, show_default=True)
def main(fit: Path, baseline: Path, cells: tuple[str, ...], ways: tuple[str, ...]) -> None:
    """Print accuracy, agreement with the baseline and CPU time of each."""
    seed, quant = params.seed(), params.section(Quant, "quant")
    runtime.start(params.section(runtime.Train, "train"), seed)
    dense = Baseline(baseline, fit)
    loaded, run = dense.loaded, TrainingRun(fit, dense.loaded.view, params.device_budget_mib())
    calibration = sampled(run.images.train, quant.calibration.samples, derived_seed(seed, "calibration images"))
    seen = Batches(calibration, loaded.view, batch_size=quant.calibration.batch_size)
    print_line("baseline", dense.top1)
    for cell in cells:
        size, _, group = cell.partition("/")
        what = (loaded.model, int(size), int(group) if group else None)
        for way in ways:
            by, how = way.split()
            make = partial(theirs, *what, how, seen) if by == "brevitas" else partial(ours, *what, how, run, quant)
            start = time.process_time()
            model = make()
            seconds = time.process_time() - start
            dense.print_beside(f"int{cell} {way}", model, f"{seconds:.1f} s")


if __name__ == "__main__":
    main()
