"""Quantize one model: search the scales, train with rounded weights if asked, round once, and measure what it cost."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeGuard, cast

import torch
from torch import Tensor, nn

from deepcompress import params
from deepcompress.data.batches import Batches
from deepcompress.errors import UserError, require_array
from deepcompress.measure import accuracy
from deepcompress.measure.cost import layer_macs
from deepcompress.measure.statistics import decimals, significant
from deepcompress.models.build import trace
from deepcompress.models.quantized_weight import FLOAT_BITS, Format, QuantizedWeight, dequantize, group_size
from deepcompress.models.vgg import VGG, Classifier, PoolFirst, prunable_layers
from deepcompress.quantization import ptq, qat
from deepcompress.quantization.settings import FLOATS, FORMATS, HALF_BITS, INTEGER, Task
from deepcompress.training.loop import CrossEntropy
from deepcompress.training.recipe import History

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from lightning_fabric import Fabric

    from deepcompress.models.checkpoint import Checkpoint, Encoded
    from deepcompress.models.quantized_weight import Quantized
    from deepcompress.training.run import TrainingRun

    Logits = Float[Tensor, "images classes"]

log = logging.getLogger(__name__)
BATCH_SIZE = 256  # of validation images
IN_TURN = (nn.Sequential.forward, PoolFirst.forward)
LARGEST_HALF = torch.finfo(torch.float16).max


@dataclasses.dataclass(frozen=True)
class Rounded:
    """What rounding made of a model, whose weights are in the model."""

    encodings: dict[str, Encoded]  # tensors as they go into the file, for `checkpoint.save`
    logits: Logits  # of the rounded model on the validation images
    # Columns of a table: accuracy and loss on the `n` validation images, agreement with the model before, relative
    # error of the logits (`output_error_relative`), and those of `weight_errors` and `coverage`.
    row: dict[str, Any]


def quantize_(
    source: Checkpoint, data: TrainingRun, task: Task, *, fabric: Fabric, provenance: dict[str, Any]
) -> tuple[Rounded, History]:
    """Round the weights of a loaded model in place, after training with rounded ones if the task says so.

    The model is left on the CPU; what is zero in it stays zero.

    Returns:
        What rounding made, whose row also says what it is about, and a row per epoch; none where nothing was trained.

    Raises:
        UserError: If the model is made for other classes, a weight is not finite, or training diverges.
    """
    model, history = source.model, History()
    if tuple(source.classes) != tuple(data.images.meta.classes):
        raise UserError("the model to quantize was made for other classes than the images have")
    layout = task.model_dump(include={"group_size", "channel_bits", "first_bits", "last_bits", "float16"})
    formats = assign(model, task.format, **layout)
    model.to(fabric.device)
    quantized = ptq.quantize(model, formats, data, task, seed=int(provenance["seed"]))
    if task.qat is not None:
        qat.attach_(model, formats, quantized, steps=task.qat.steps, from_quantized=task.rounding != "nearest")
        loss = CrossEntropy(task.qat.label_smoothing)
        history = data.train(model, loss, task.qat, fabric=fabric, provenance=provenance)
        quantized = qat.detach_(model.cpu())
        model.to(fabric.device)
    validation = Batches(data.images.validation, data.view, batch_size=BATCH_SIZE, device=fabric.device)
    rounded = assign_and_measure_(model, formats, quantized, validation)
    row = rounded.row
    log.info(
        "%s-%s: %.2f bits per weight, top-1 %.2f %% on validation images, agrees with the unrounded model on %.2f %%",
        *(task.mode, task.format, row["bits_per_weight"], row["validation_top1_pct"], row["agreement_pct"]),
    )
    return dataclasses.replace(rounded, row=_named(task, model, formats) | row), history


def assign(
    model: nn.Module,
    name: str,
    *,
    group_size: int | None = None,
    channel_bits: int = 8,
    first_bits: int | None = None,
    last_bits: int | None = None,
    float16: str = "fp16",
) -> dict[str, Format]:
    """A format for every convolution and linear layer, by name, in forward order; biases and batch norms stay float32.

    Of this name are all layers but perhaps, among integers, the first and the last; the options are those of
    `settings.QuantOptions`.
    """
    names = dict.fromkeys(prunable_layers(model), name)
    if INTEGER.fullmatch(name):
        for layer, bits in ((next(iter(names)), first_bits), (next(reversed(names)), last_bits)):
            if bits is not None:
                names[layer] = float16 if bits == HALF_BITS else f"int{bits}"
    return {layer: find(own, group_size, channel_bits) for layer, own in names.items()}


def find(name: str, group_size: int | None = None, channel_bits: int = 9) -> Format:
    """The format of a name that `settings.require_format` knows; arguments as in `assign`."""
    if integer := INTEGER.fullmatch(name):
        bits = int(integer[1])
        size = group_size if bits < channel_bits else None
        return cast("Format", params.plugin(FORMATS, "intn").make(bits, size))
    if name in FLOATS:
        return cast("Format", params.plugin(FORMATS, "floats").make(name))
    try:
        made = params.plugin(FORMATS, name).make()
    except TypeError as error:  # of a class that lacks a method
        raise UserError(f"format {name}: make: {error}") from error
    if not isinstance(made, Format) or not {"name", "bits", "smallest_normal"} <= {*dir(made)} or made.name != name:
        raise UserError(f"format {name}: make must give a Format of this name, bits and smallest_normal, got {made!r}")
    return made


def assign_and_measure_(
    model: Classifier,
    formats: Mapping[str, Format],
    quantized: Mapping[str, Quantized],
    validation: Batches,
    before: tuple[Logits, Int[Tensor, " images"]] | None = None,
) -> Rounded:
    """Put quantized weights into a model: the last step of every way to quantize, and what that alone costs.

    Args:
        model: On the device of the batches; is left on the CPU.
        formats: Of its layers.
        quantized: Its weights, on the CPU.
        validation: Images.
        before: Logits and labels, of the model as it is, if they are known.
    """
    float_logits, labels = before or accuracy.logits(model, validation)
    model.cpu().to(memory_format=torch.contiguous_format)
    floats = {name: layer.weight.detach().clone() for name, layer in prunable_layers(model).items()}
    for name, weight in floats.items():
        rounded = dequantize(quantized[name])
        require_array(f"format {formats[name].name}: the weight of {name}", rounded, weight.shape, "float")
        if not rounded.isfinite().all() or rounded[weight == 0].any():
            raise UserError(f"format {formats[name].name}: the weight of {name} must be finite, and 0 where it was 0")
    ptq.assign_(model, quantized)
    if any(isinstance(weight, QuantizedWeight) for weight in quantized.values()):
        round_vectors_(model)
    encodings = smallest_encodings(formats, quantized)
    logits, _ = accuracy.logits(model.to(validation.device), validation)
    model.cpu()
    measured = {
        "n": len(labels),
        "validation_top1_pct": decimals(100 * accuracy.top_k_correct(logits, labels).double().mean().item()),
        "validation_loss": significant(accuracy.cross_entropy(logits, labels)),
        "agreement_pct": decimals(100 * accuracy.top1_agreement(float_logits, logits)),
        "output_error_relative": significant(output_error(float_logits, logits)),
    }
    numbers = {**weight_errors(floats, formats, quantized), **coverage(model, formats, encodings)}
    written = {name: value if isinstance(value, int) else significant(value) for name, value in numbers.items()}
    return Rounded(encodings, logits, measured | written)


@torch.no_grad()
def round_vectors_(model: nn.Module) -> None:
    """Work batch norms into factor and shift, and round these and all biases to float16, in place.

    In a small file these numbers weigh: of a VGG-11 at 95 % zeros and 4 bits, five float32 numbers per channel are a
    quarter. An evaluated batch norm is one factor and one shift per channel, so its mean, its variance and the bias of
    the convolution before it are worked into these two, and are the same for all channels then. What that changes is
    measured, and little: docs/results.md, "Coded integers". The model is to be evaluated, no longer trained: statistics
    that are estimated anew would undo it.

    Args:
        model: Of its convolutions, those in an `nn.Sequential` in front of their batch norm lose their bias.
    """
    for layer, norm in _biased(model):
        norm.running_mean -= layer.bias
        layer.bias.zero_()
    for norm in model.modules():
        if _has_statistics(norm):
            factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            norm.bias -= norm.running_mean * factor
            norm.weight.copy_(factor)
            norm.running_mean.zero_()
            variance = torch.tensor(1 - norm.eps)
            norm.running_var.fill_(variance + (1 - (variance + norm.eps)))  # in float32 it adds up to 1 with eps
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.copy_(parameter.clamp(-LARGEST_HALF, LARGEST_HALF).half())


def _biased(model: nn.Module) -> Iterator[tuple[Any, Any]]:
    """Convolutions with a bias, each with the batch norm that alone reads what it gives.

    That is the next layer of an `nn.Sequential` that runs as it stands; where a network calls the layers of one by one,
    others may read what is between them.
    """
    for name, block in model.named_modules():
        for layer, norm in itertools.pairwise(block) if type(block).forward in IN_TURN else ():
            biased = isinstance(layer, nn.Conv2d) and layer.bias is not None and _has_statistics(norm)
            if biased and (isinstance(model, VGG) or name in trace(model.spec).ran):
                yield layer, norm


def _has_statistics(norm: nn.Module) -> TypeGuard[Any]:
    return isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None and norm.weight is not None


def smallest_encodings(formats: Mapping[str, Format], quantized: Mapping[str, Quantized]) -> dict[str, Encoded]:
    """Tensor name -> the encoding of the fewest bytes, for `checkpoint.save`; those stored as they are have none."""
    return {
        f"{name}.weight": min(candidates, key=size_bytes)
        for name, weight in quantized.items()
        if (candidates := formats[name].encodings(weight))
    }


def size_bytes(encoded: Encoded) -> int:
    """Bytes of an encoded tensor's parts."""
    return sum(part.numel() * part.element_size() for part in encoded.parts.values())


def weight_errors(
    floats: Mapping[str, Float[Tensor, "outputs ..."]],
    formats: Mapping[str, Format],
    quantized: Mapping[str, Quantized],
) -> dict[str, float]:
    """What rounding does to the weights of all layers together, given those before it and after.

    Returns:
        `weight_error_relative`: length of the error over length of the weights; `weight_error_largest`: of a
        single weight; `overflows`: weights beyond the grid, set to its end; `underflows`: weights that were not
        zero and became it; `subnormals`: others that are below the format's whole precision.
    """
    squares = error_squares = largest = 0.0
    overflows = underflows = subnormals = 0
    for name, weight in floats.items():
        rounded = dequantize(quantized[name])
        error = rounded - weight
        squares += float(weight.double().square().sum())
        error_squares += float(error.double().square().sum())
        largest = max(largest, float(error.abs().max()))
        overflows += formats[name].overflows(weight, quantized[name])
        underflows += int(((weight != 0) & (rounded == 0)).sum())
        subnormals += int(((rounded != 0) & (rounded.abs() < formats[name].smallest_normal)).sum())
    return {
        "weight_error_relative": (error_squares / squares) ** 0.5 if squares else 0.0,
        "weight_error_largest": largest,
        "overflows": overflows,
        "underflows": underflows,
        "subnormals": subnormals,
    }


def output_error(before: Logits, after: Logits) -> float:
    """Length of the error of all logits over the length of the logits."""
    return float(torch.linalg.vector_norm(after - before) / torch.linalg.vector_norm(before))


def coverage(model: Classifier, formats: Mapping[str, Format], encodings: Mapping[str, Encoded]) -> dict[str, float]:
    """How much of a model with rounded weights is quantized, and its bits as they lie in the file.

    Returns:
        `weights_quantized_pct`: share of all weights, also of those that no step can quantize such as those of
        nn.MultiheadAttention, that are below 32 bits [%]; `macs_quantized_pct`: the same of the multiply-accumulates of
        convolutions and linear layers; `bits_per_weight`: stored bits of all weights, scales and masks included, over
        the number of weights. A weight is an entry of a parameter of two dimensions or more.
    """
    work = layer_macs(model)
    weights = {name: parameter.numel() for name, parameter in model.named_parameters() if parameter.dim() > 1}
    short = [name for name, form in formats.items() if form.bits < FLOAT_BITS]
    stored = [
        8 * size_bytes(encodings[name]) if name in encodings else FLOAT_BITS * count for name, count in weights.items()
    ]
    return {
        "bits_per_weight": sum(stored) / sum(weights.values()),
        "weights_quantized_pct": 100 * sum(weights[f"{name}.weight"] for name in short) / sum(weights.values()),
        "macs_quantized_pct": 100 * sum(work[name] for name in short) / sum(work.values()),
    }


def _named(task: Task, model: nn.Module, formats: Mapping[str, Format]) -> dict[str, Any]:
    """The columns that say what a row is about; a line in the log where groups do not divide a layer's rows."""
    uneven, grouped = [], False
    for name, layer in prunable_layers(model).items():
        inputs, count = layer.weight[0].numel(), formats[name].groups(layer.weight)
        grouped = grouped or count > 1
        if count and inputs % group_size(inputs, count):
            uneven.append(f"{name} ({inputs} inputs in {count} groups of {group_size(inputs, count)})")
    if uneven:
        log.info("the last group of a row is shorter in %s", ", ".join(uneven))
    bits = next((form.bits for form in formats.values() if form.name == task.format), None)
    return {"mode": task.mode, "format": task.format, "bits": bits, "group_size": task.group_size if grouped else None}
