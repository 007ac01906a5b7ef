"""What models cost: multiply-accumulates, bytes in memory and on disk, how weights are distributed, and their training.

The training's unit is 10^12 multiply-accumulates of a forward pass, exact to the last one. A training step of the whole
network takes about three times that, by the same factor for all, and is not multiplied in. Where only the head learns
from images that come unchanged in every epoch, the frozen rest runs once, so all epochs count as one pass. A search, a
scan and a rounding without training count as nothing. A teacher's answers count with a forward pass per image: one
where images come unchanged in every epoch, else one per epoch. Seconds are not here, for they differ from run to run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import zstandard
from torch.utils._python_dispatch import TorchDispatchMode

from deepcompress import files
from deepcompress.data.store import BYTES_PER_MIB, read_meta
from deepcompress.errors import UserError
from deepcompress.measure.accuracy import evaluating
from deepcompress.models.encodings import bitmask
from deepcompress.models.vgg import Classifier, prunable_layers, tap
from deepcompress.params import PARAMS_FILE, at

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn

    from deepcompress.plan_table import Plan, PlannedModel

    Row = dict[str, Any]

WEIGHT_BYTES = 4
INDEX_BYTES = 4  # of one column number or row pointer
ZSTD_LEVEL = 3
BINS = 60
WIDEST = 0.999  # fraction of a layer's weights that the bins span; the rest is counted in the outermost bins
OWN, TOTAL = "training_tera_macs", "training_tera_macs_total"
TERA = 10**12
UNTRAINED = ("masked",)  # families that no history is written of: models before fine-tuning


# Operations and bytes.


def macs(model: Classifier) -> int:
    """Multiply-accumulates of all convolutions and products of matrices for one image.

    Those of `layer_macs`, and of what is no such layer: attention, and operations that a network's code calls itself.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operation, in which nothing could be told apart
    try:
        with _Products() as seen:
            layer_macs(model)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return seen.macs


class _Products(TorchDispatchMode):
    """Counts what torch computes inside; torch's own counter (utils.flop_counter) loads Triton, for a second.

    Each output of a convolution or a product costs as many as it has terms; of a transposed convolution each input.
    """

    macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given, name = func(*args, **kwargs or {}), func.overloadpacket.__name__
        if name == "convolution":
            self.macs += (args[0] if args[6] else given).numel() * args[1][0].numel()
        elif name in ("mm", "bmm", "addmm", "baddbmm"):
            self.macs += given.numel() * args[-1].shape[-2]
        elif name.startswith("_scaled_dot_product"):
            query, keys, values = args[:3]
            self.macs += query[..., 0].numel() * (keys[0, 0].numel() + values[0, 0].numel())
        elif name in ("mkldnn_rnn_layer", "_cudnn_rnn"):  # an LSTM; elsewhere, and of a GRU, the products are seen
            weights = args[1] if name == "_cudnn_rnn" else args[1:3]
            self.macs += args[0][..., 0].numel() * sum(weight.numel() for weight in weights if weight.dim() > 1)
        return given


def layer_macs(model: Classifier) -> dict[str, int]:
    """Multiply-accumulates of each convolution and linear layer for one image of the model's own size.

    Each output value costs as many as one output channel has weights; biases, batch norms and activations are
    not counted, nor are zeros skipped. One image runs through the model, in eval mode.
    """
    layers = prunable_layers(model)
    size = model.spec.image_size
    image = torch.zeros(1, 3, size, size, device=next(model.parameters()).device)
    with evaluating(model), torch.no_grad(), tap(model, layers) as outputs:
        model(image)
    return {name: outputs[name].numel() * layer.weight[0].numel() for name, layer in layers.items()}


def parameters(model: nn.Module) -> dict[str, int]:
    """Counts: `total` parameters, `weights` of convolutions and linear layers, `nonzero` ones among these."""
    weights = [layer.weight for layer in prunable_layers(model).values()]
    return {
        "total": sum(parameter.numel() for parameter in model.parameters()),
        "weights": sum(weight.numel() for weight in weights),
        "nonzero": sum(int(weight.count_nonzero()) for weight in weights),
    }


def weights_mib(model: nn.Module) -> dict[str, float]:
    """The source report's storage table: MiB of the weights held dense, without biases and without batch norm.

    It calls the unit MB and counts 4 bytes for a zero as for any other weight, so `total_mib` does not fall
    with sparsity; the size of a real file says what is saved.

    Returns:
        `nonzero_mib`, `zero_mib` and their sum `total_mib`, over all convolutions and linear layers.

    Source: the source report, figure 8.
    """
    counts = parameters(model)
    held = {"nonzero": counts["nonzero"], "zero": counts["weights"] - counts["nonzero"], "total": counts["weights"]}
    return {f"{name}_mib": WEIGHT_BYTES * count / BYTES_PER_MIB for name, count in held.items()}


def payload_bytes(model: nn.Module) -> dict[str, int]:
    """Bytes of the model's tensors as five formats would store them, headers apart.

    Only weights of convolutions and linear layers have more than one form; biases and batch norms are dense in
    each.

    Returns:
        `dense_bytes`; `bitmask_bytes`: a bit per weight and the non-zero values; `csr_bytes`: per non-zero
        value also its column, per row a pointer, 4 bytes each (a convolution is a row per filter);
        `zstd_bytes` and `bitmask_zstd_bytes`: the first two compressed by zstd, losslessly.

    Source: zstd: RFC 8878; the others are counted, and the bitmask's figure is what models/encodings stores.
    """
    weights = {f"{name}.weight" for name in prunable_layers(model)}
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
    total = dict.fromkeys(("dense", "bitmask", "csr", "zstd", "bitmask_zstd"), 0)
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        parts = bitmask.encode(tensor) if name in weights else {"values": tensor}
        coded = b"".join(part.numpy().tobytes() for part in parts.values())
        nonzero, rows = parts["values"].numel(), tensor.shape[0] if tensor.dim() else 1
        sparse = nonzero * (tensor.element_size() + INDEX_BYTES) + (rows + 1) * INDEX_BYTES
        total["dense"] += tensor.nbytes
        total["bitmask"] += len(coded)
        total["csr"] += sparse if name in weights else tensor.nbytes
        total["zstd"] += len(compressor.compress(tensor.numpy().tobytes()))
        total["bitmask_zstd"] += len(compressor.compress(coded))
    return {f"{form}_bytes": count for form, count in total.items()}


# How the weights of each layer are distributed, as counts that a report can draw without the weights.


def edges(model: nn.Module) -> dict[str, Float[Tensor, " edges"]]:
    """Per layer, the borders of BINS bins of equal width, symmetric about zero.

    They span all but the largest thousandth of the weights, so that a single outlier does not squeeze the rest
    into a few bins.
    """
    borders = {}
    for name, layer in prunable_layers(model).items():
        sizes = layer.weight.detach().abs().flatten().cpu()
        widest = float(sizes.kthvalue(max(1, int(WIDEST * len(sizes)))).values) or 1.0
        borders[name] = torch.linspace(-widest, widest, BINS + 1)
    return borders


def histograms(model: nn.Module, borders: Mapping[str, Float[Tensor, " edges"]]) -> list[Row]:
    """Counts of the weights that are not zero, and of those that are.

    Args:
        model: With the layers that `borders` names.
        borders: Of `edges`, perhaps of another model with these layers.

    Returns:
        A row per layer and bin: `layer`, `low` and `high` (weight units), `count` of non-zero weights, and
        `zeros` and `weights`, those of the whole layer.
    """
    rows = []
    for name, layer in prunable_layers(model).items():
        values = layer.weight.detach().flatten().cpu()
        survivors, border = values[values != 0], borders[name]
        inside = survivors.clamp(float(border[0]), float(border[-1]))
        counts = np.histogram(inside.numpy(), border.numpy())[0].tolist()
        whole = {"zeros": len(values) - len(survivors), "weights": len(values)}
        bins = zip(border[:-1].tolist(), border[1:].tolist(), counts, strict=True)
        rows += [{"layer": name, "low": low, "high": high, "count": count, **whole} for low, high, count in bins]
    return rows


# Training, as two columns of metrics/evaluation.csv.


def read_trainings(history: Path, plan: Plan, data: Path) -> tuple[int, dict[str, int]]:
    """How many images all trainings of a plan see in an epoch, and of each model the epochs of its own training.

    Args:
        history: Folder of <model id>.csv, a row per epoch; none for UNTRAINED.
        plan: All models.
        data: A folder whose meta.json counts the training images.

    Raises:
        UserError: If a file is missing or damaged.
    """
    epochs = {row.id: _epochs(history / f"{row.id}.csv") for row in plan if row.family not in UNTRAINED}
    return read_meta(data).counts["train"], epochs


def with_training_cost(
    rows: Iterable[Row], plan: Plan, params: Mapping[str, Any], images: int, epochs: Mapping[str, int]
) -> list[Row]:
    """The rows of the evaluation table, each with two columns behind its own [10^12 MACs].

    Args:
        rows: Of every model of the plan, each with its `macs` for one image.
        plan: What each was made from, and the key of its recipe.
        params: params.yaml as plain values.
        images: Training images, of which each epoch sees all.
        epochs: Of each model's own training; a model that is not named was not trained.

    Returns:
        `training_tera_macs`: training images seen by the model in its own training times its `macs`, and its teacher's
        answers to them; `training_tera_macs_total`: the same and that of all that it builds on, each once: the
        baseline, the pruned model, the teacher.

    Raises:
        UserError: If a model was trained that has no recipe in the plan.
    """
    rows = list(rows)
    macs = {row["model"]: row["macs"] for row in rows}
    own = {model: images * _macs_per_image(plan[model], epochs.get(model, 0), params, macs) for model in macs}
    total = {model: sum(own[below] for below in plan.below(model)) for model in macs}
    return [{**row, OWN: own[row["model"]] / TERA, TOTAL: total[row["model"]] / TERA} for row in rows]


def _epochs(path: Path) -> int:
    try:
        return max((int(row["epoch"]) for row in files.read_rows(path)), default=0)
    except KeyError:
        raise UserError(f"{path}: lacks the column epoch; run the stage that makes it again") from None
    except (ValueError, OverflowError):
        raise UserError(f"{path}: the column epoch must hold whole numbers alone") from None


def _macs_per_image(row: PlannedModel, epochs: int, params: Mapping[str, Any], macs: Mapping[str, int]) -> int:
    """MACs that a model's own training, and its teacher's answers, spend on a training image.

    Students and their controls run whole in every epoch, whatever learns in them.
    """
    if not epochs:
        return 0
    if row.recipe is None:
        raise UserError(
            f"{row.id}: trained for {epochs} epochs, but the plan names no recipe of it in {PARAMS_FILE}; a new family "
            "needs one in plan.py"
        )
    recipe = at(params, row.recipe) or {}
    unchanged = not any((recipe.get("augment") or {}).values())
    head = recipe.get("trainable") == "head" and unchanged and row.step != "distill"
    spent = (1 if head else epochs) * macs[row.id]
    if row.step == "distill" and row.teacher is not None:
        spent += (1 if unchanged else epochs) * macs[row.teacher]
    return spent
