"""The last step of every way to quantize: round the weights of a model, and measure what that alone costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from deepcompress.measure import accuracy, agreement
from deepcompress.measure.rows import decimals, significant
from deepcompress.models.vgg import prunable_layers
from deepcompress.quantization import pack, ptq, rounding_error
from deepcompress.quantization.coverage import coverage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float, Int
    from torch import Tensor

    from deepcompress.data.batches import Batches
    from deepcompress.models.checkpoint import Encoded
    from deepcompress.models.classifier import Classifier
    from deepcompress.quantization.format import Format, Shrink


@dataclass(frozen=True)
class Rounded:
    """What rounding made of a model.

    Attributes:
        encodings: Tensors as they go into the file.
        logits: Of the rounded model on the validation images.
        row: Columns of a table: accuracy and loss on the `n` validation images, agreement with the model before,
            relative error of the logits (`output_error_relative`), and those of `rounding_error.of_weights` and
            `coverage`.
    """

    encodings: dict[str, Encoded]
    logits: Float[Tensor, "images classes"]
    row: dict[str, Any]


def round_and_measure_(
    model: Classifier,
    formats: Mapping[str, Format],
    shrinks: Mapping[str, Shrink],
    validation: Batches,
    before: tuple[Float[Tensor, "images classes"], Int[Tensor, " images"]] | None = None,
) -> Rounded:
    """Round in place.

    Args:
        model: On the device of the batches; is left on the CPU.
        formats: Of its layers.
        shrinks: Of their scales.
        validation: Images to measure on.
        before: Logits and labels, of the model as it is, if they are known.
    """
    true_logits, labels = before or accuracy.logits(model, validation)
    model.cpu().to(memory_format=torch.contiguous_format)
    true = {name: layer.weight.detach().clone() for name, layer in prunable_layers(model).items()}
    scales = ptq.round_(model, formats, shrinks)
    encodings = pack.encodings(model, formats, scales)
    logits, _ = accuracy.logits(model.to(validation.device), validation)
    model.cpu()
    measured = {
        "n": len(labels),
        "validation_top1_pct": decimals(100 * accuracy.top_k_correct(logits, labels).double().mean().item()),
        "validation_loss": significant(accuracy.cross_entropy(logits, labels)),
        "agreement_pct": decimals(100 * agreement.top1_agreement(true_logits, logits)),
        "output_error_relative": significant(rounding_error.of_answers(true_logits, logits)),
    }
    numbers = {**rounding_error.of_weights(true, formats, scales), **coverage(model, formats, encodings)}
    written = {name: value if isinstance(value, int) else significant(value) for name, value in numbers.items()}
    return Rounded(encodings, logits, measured | written)
