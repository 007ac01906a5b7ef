"""Quantize one model: search the scales, train with rounded weights if asked, round, and measure what it cost."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepcompress.data.batches import Batches
from deepcompress.errors import UserError
from deepcompress.models import groups
from deepcompress.models.vgg import prunable_layers
from deepcompress.quantization import calibration, fake, ptq
from deepcompress.quantization.assign import assign
from deepcompress.quantization.rounding import round_and_measure_
from deepcompress.training import run
from deepcompress.training.history import History
from deepcompress.training.objective import CrossEntropy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lightning_fabric import Fabric
    from torch import nn

    from deepcompress.models.checkpoint import Checkpoint, Encoded
    from deepcompress.models.classifier import Classifier
    from deepcompress.quantization.format import Format, Shrink
    from deepcompress.quantization.settings import Calibration, Task
    from deepcompress.training.run import Data

log = logging.getLogger(__name__)
BATCH_SIZE = 256  # of validation images


@dataclass(frozen=True)
class Outcome:
    """What goes with a quantized model, whose weights are in the model.

    Attributes:
        encodings: For `checkpoint.save`.
        history: A row per epoch; none where nothing was trained.
        row: What the table says of it.
    """

    encodings: dict[str, Encoded]
    history: History
    row: dict[str, Any]


def quantize_(source: Checkpoint, data: Data, task: Task, *, fabric: Fabric, origin: dict[str, Any]) -> Outcome:
    """Round the weights of a loaded model in place, after training with rounded ones if the task says so.

    Args:
        source: Its model is left on the CPU; what is zero in it stays zero.
        data: Images to calibrate, train and measure on.
        task: What to make of it.
        fabric: Gives device and precision.
        origin: The provenance of the result.

    Raises:
        UserError: If the model is made for other classes, a weight is not finite, or training diverges.
    """
    model, history = source.model, History()
    if tuple(source.classes) != tuple(data.images.meta.classes):
        raise UserError("the model to quantize was made for other classes than the images have")
    formats = assign(
        model,
        task.format,
        group_size=task.group_size,
        channel_bits=task.channel_bits,
        first_bits=task.first_bits,
        last_bits=task.last_bits,
        float16=task.float16,
    )
    model.to(fabric.device)
    shrinks = search(model, formats, data, task.clipping, task.calibration, seed=int(origin["seed"]))
    if task.qat is not None:
        fake.attach_(model, formats, shrinks)
        loss = CrossEntropy(task.qat.label_smoothing)
        history = run.run(model, loss, data, task.qat, fabric=fabric, origin=origin)
        fake.detach_(model)
    validation = Batches(data.images.validation, data.view, batch_size=BATCH_SIZE, device=fabric.device)
    rounded = round_and_measure_(model, formats, shrinks, validation)
    row = rounded.row
    log.info(
        "%s-%s: %.2f bits per weight, top-1 %.2f %% on validation images, %.2f %% answered as before rounding",
        *(task.mode, task.format, row["bits_per_weight"], row["validation_top1_pct"], row["agreement_pct"]),
    )
    return Outcome(rounded.encodings, history, _named(task, model, formats) | row)


def search(
    model: Classifier,
    formats: Mapping[str, Format],
    data: Data,
    clipping: str,
    chosen: Calibration | None,
    *,
    seed: int,
) -> dict[str, Shrink]:
    """How far each scale shrinks.

    Args:
        model: On the device to compute on; not changed.
        formats: Of its layers.
        data: Training images, of which `output_error` looks at some.
        clipping: `none`, `weight_error` or `output_error`; see ptq.py.
        chosen: How many images; None: `output_error` is not asked for.
        seed: Draws them.
    """
    if clipping == "weight_error":
        return ptq.by_weight_error(model, formats)
    weights = {name: layer.weight for name, layer in prunable_layers(model).items()}
    if clipping == "none" or chosen is None or not any(form.groups(weights[name]) for name, form in formats.items()):
        return dict.fromkeys(formats)
    some = calibration.batches(
        data.images.train,
        data.view,
        samples=chosen.samples,
        batch_size=chosen.batch_size,
        device=next(model.parameters()).device,
        seed=seed,
    )
    return ptq.by_output_error(model, formats, some, inputs=chosen.inputs, seed=seed)


def _named(task: Task, model: nn.Module, formats: Mapping[str, Format]) -> dict[str, Any]:
    """The columns that say what a row is about; a line in the log where groups do not divide a layer's rows."""
    uneven, grouped = [], False
    for name, layer in prunable_layers(model).items():
        inputs, count = layer.weight[0].numel(), formats[name].groups(layer.weight)
        grouped = grouped or count > 1
        if count and inputs % groups.size(inputs, count):
            uneven.append(f"{name} ({inputs} inputs in {count} groups of {groups.size(inputs, count)})")
    if uneven:
        log.info("the last group of a row is shorter in %s", ", ".join(uneven))
    bits = next((form.bits for form in formats.values() if form.name == task.format), None)
    return {
        "mode": task.mode,
        "format": task.format,
        "bits": bits,
        "group_size": task.group_size if grouped else None,
    }
