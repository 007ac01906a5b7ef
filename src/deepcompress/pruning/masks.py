"""Score every weight or channel of a network's layers, and mask those with the lowest scores.

A criterion is a file in criteria/ with GRANULARITIES (of "weight", "channel"), NEEDS_GRADIENTS, and `scores(subject)`;
one that needs gradients is asked once per batch and its scores are averaged, any other is asked once.

The lowest scores go; of equal ones the one with the lower index goes first, so that a count is met exactly and a higher
count always takes all that a lower one took. Sorting a layer of 100 million weights would cost several times as much as
the order statistics at a few counts do.

A mask is a dict: parameter name -> bool tensor that broadcasts to the parameter, True where it survives. A
filter goes whole: with its weights its bias and its batch norm's scale and shift become zero (`ln_structured`
of torch leaves those), so that its map is exactly zero and the channel can be removed: the same class of network, with
fewer filters and units, and the same answers.

Source of the idea that a channel's filter goes with the next layer's inputs: Li et al., ICLR 2017,
https://arxiv.org/abs/1608.08710, figure 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from deepcompress import params
from deepcompress.data.batches import Batch, Batches, View
from deepcompress.data.store import Fit, sampled
from deepcompress.errors import UserError, require_array
from deepcompress.measure.accuracy import evaluating
from deepcompress.models.build import blank
from deepcompress.models.spec import Spec, VGGSpec
from deepcompress.models.vgg import Classifier, prunable_layers
from deepcompress.pruning.layers import group_masks, group_scores, norm_scales, scored_layers, shrunk_state
from deepcompress.pruning.settings import GRANULARITY, Granularity, Method, Scoring

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8
    from torch import Tensor, nn

    Layers = Mapping[str, nn.Conv2d | nn.Linear]
    Masks = dict[str, Bool[Tensor, "..."]]

BITMASK_ABOVE = 1 / 32  # share of zeros; a bit of mask per 32-bit weight costs as much as these save


@dataclasses.dataclass(frozen=True)
class LayerView:
    """One layer, as a criterion sees it."""

    name: str  # of the layer
    weight: Float[Tensor, "outputs ..."]  # (outputs, inputs) or (filters, channels, height, width); to be read only
    granularity: Granularity  # whether a score per weight or per output channel is asked for
    seed: int = 0  # for criteria that draw
    # Of the mean cross-entropy of one batch; None where the criterion needs none.
    gradient: Float[Tensor, "outputs ..."] | None = None
    # Of the batch norm right behind, one per output; None where there is none.
    norm_scale: Float[Tensor, " outputs"] | None = None


def scored(
    model: Classifier,
    method: Method,
    criterion: str,
    layers: Iterable[str],
    images: Fit,
    scoring: Scoring,
    *,
    view: View,
    seed: int,
) -> dict[str, Float[Tensor, "outputs ..."]]:
    """Scores of all that a method may prune in some layers: of single weights, or of channels that go together.

    Where the criterion needs gradients, they are taken on as many training images as `scoring` says; the seed draws
    these, and is that of criteria that draw.

    Returns:
        By name of the layers, higher = keep; empty where there are none.

    Raises:
        UserError: If the criterion is unknown or gives no such scores, or a weight is not finite.
    """
    judges, module = scored_layers(model, method, layers), params.plugin("pruning.criteria", criterion)
    if not judges:
        return {}
    if bad := _not_finite({name: layer.weight for name, layer in judges.items()}):
        raise UserError(f"{bad[0]}: a weight is not finite; the model has diverged and cannot be pruned")
    before = {name: layer.weight._version for name, layer in judges.items()}
    gradients: Iterable[Mapping[str, Tensor]] = [{}]
    if module.NEEDS_GRADIENTS:
        drawn, size = sampled(images.train, scoring.samples, seed), scoring.batch_size
        device = next(model.parameters()).device
        batches = Batches(drawn, view, batch_size=size, device=device, least=max(1, size // 2))
        gradients = batch_gradients(model, judges, batches.epoch(0))
    scales, granularity = norm_scales(model), GRANULARITY[method]
    sums: dict[str, Tensor] = {}
    asked = 0
    for by_layer in gradients:
        asked += 1
        for name, layer in judges.items():
            subject = LayerView(name, layer.weight.detach(), granularity, seed, by_layer.get(name), scales.get(name))
            with torch.no_grad():
                found = module.scores(subject)
            shape = subject.weight.shape if granularity == "weight" else subject.weight.shape[:1]
            require_array(f"criterion {criterion}: the scores of {name}", found, shape, "float")
            sums[name] = sums[name] + found if name in sums else found
    mean = {name: sums.pop(name) / asked for name in judges}
    if bad := _not_finite(mean):
        gradients_too = "the loss of training images that overflows, or " if module.NEEDS_GRADIENTS else ""
        cause = f"its weights are, so it is {gradients_too}what the criterion makes of them"
        raise UserError(f"{bad[0]}: a {criterion} score is not finite; {cause}")
    for name, layer in judges.items():
        if layer.weight._version != before[name]:
            raise UserError(f"criterion {criterion} changed the weight of {name}, which it may only read")
    return group_scores(model, mean) if method == "structured" else mean


def batch_gradients(model: nn.Module, layers: Layers, batches: Iterable[Batch]) -> Iterator[dict[str, Tensor]]:
    """Gradient of each batch's mean cross-entropy by the weight of every layer, in evaluation mode.

    Weights, their `.grad` and the batch norms' statistics stay as they are. Frozen weights have gradients, too; those
    that no answer depends on have zeros.
    """
    weights = {f"{name}.weight": layer.weight.detach().requires_grad_() for name, layer in layers.items()}
    for batch in batches:
        with evaluating(model), torch.enable_grad():
            answers = torch.func.functional_call(model, weights, (batch.images,))
            loss = F.cross_entropy(answers, batch.labels)
            found = torch.autograd.grad(loss, [*weights.values()], allow_unused=True, materialize_grads=True)
            yield dict(zip(layers, found, strict=True))


def _not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of those that hold NaN or infinity; a GPU is waited for once, however many there are."""
    flags = [torch.stack(values.detach().aminmax()).isfinite().all() for values in tensors.values()]  # NaN reaches both
    together = torch.stack([flag.to(flags[0].device) for flag in flags]).tolist() if flags else []
    return [name for name, finite in zip(tensors, together, strict=True) if not finite]


def kept(scores: Float[Tensor, "*shape"], pruned: int) -> Bool[Tensor, "*shape"]:
    """False for the `pruned` lowest scores, True for the rest."""
    return levels(scores, [pruned]).bool()


def levels(scores: Float[Tensor, "*shape"], pruned: Sequence[int]) -> UInt8[Tensor, "*shape"]:
    """At how many of the counts each entry survives: at count number k, an entry is pruned where level <= k.

    Args:
        scores: Finite; higher = keep.
        pruned: Rising counts of entries to prune, each from 0 to the number of entries; at most 255.
    """
    flat = scores.reshape(-1)
    if any(not 0 <= count <= len(flat) for count in pruned) or list(pruned) != sorted(pruned):
        raise ValueError(f"counts must rise from 0 to at most {len(flat)}, got {list(pruned)}")
    if len(pruned) > torch.iinfo(torch.uint8).max:
        raise ValueError(f"there can be at most 255 counts, got {len(pruned)}")
    survived = torch.zeros(len(flat), dtype=torch.uint8, device=flat.device)
    counts = [count for count in pruned if count < len(flat)]
    for count, threshold in zip(counts, _order_statistics(flat, counts), strict=True):
        reached = flat >= threshold
        survived += reached
        surplus = int(reached.count_nonzero()) - (len(flat) - count)
        if surplus:  # equal scores, of which the first ones go
            survived[(flat == threshold).nonzero()[:surplus, 0]] -= 1
    return survived.view(scores.shape)


def _order_statistics(flat: Float[Tensor, " entries"], ranks: Sequence[int]) -> Iterator[float]:
    """The scores at rising places of the sorted order, 0 being the lowest."""
    if flat.device.type != "cpu":
        yield from flat.sort().values[list(ranks)].tolist()
        return
    rest, start = flat.numpy().copy(), 0
    for rank in ranks:  # one after the other: asked for all at once, NumPy takes four times as long
        rest[start:].partition(rank - start)
        start = rank
        yield float(rest[rank])


def parameter_masks(model: Classifier, granularity: Granularity, kept: Mapping[str, Bool[Tensor, ...]]) -> Masks:
    """Masks from the flags of some layers' weights, in their shape, or of their channels.

    Of channels weights and bias go, and scale and shift of the batch norm behind.
    """
    if granularity == "channel":
        return group_masks(model.spec, kept)
    return {f"{name}.weight": mask for name, mask in kept.items()}


def apply_(model: nn.Module, masks: Masks) -> None:
    """Set what the masks drop to zero (to +0.0, even where it was not finite)."""
    with torch.no_grad():
        for name, mask in masks.items():
            parameter = model.get_parameter(name)
            parameter.masked_fill_(mask.logical_not().to(parameter.device), 0.0)


def hold(model: nn.Module, masks: Masks) -> Callable[[], None]:
    """A function to call after every optimizer step: it sets what the masks drop to zero again.

    Gradients, momentum and weight decay act on each parameter alone, so what they do to a dropped one never
    reaches another, and the next forward pass sees zeros. What is frozen by then stays as it is.
    """
    parameters = {name: model.get_parameter(name) for name in masks}
    dropped = {name: mask.logical_not() for name, mask in masks.items()}

    @torch.no_grad()
    def zero() -> None:
        for name, parameter in parameters.items():
            if parameter.requires_grad:
                dropped[name] = dropped[name].to(parameter.device)
                parameter.masked_fill_(dropped[name], 0.0)

    return zero


def keep_zeros(model: nn.Module) -> Callable[[], None] | None:
    """What keeps the zeros of a sparse model where they are while it trains; None where no layer has any."""
    kept = {f"{name}.weight": layer.weight.detach() != 0 for name, layer in prunable_layers(model).items()}
    sparse = {name: mask for name, mask in kept.items() if not mask.all()}
    return hold(model, sparse) if sparse else None


def encodings(model: nn.Module) -> dict[str, str]:
    """Which weights a file stores as a bitmask and survivors: those with zeros enough that it is smaller so."""
    weights = {f"{name}.weight": layer.weight.detach() for name, layer in prunable_layers(model).items()}
    return {name: "bitmask" for name, weight in weights.items() if (weight == 0).double().mean() > BITMASK_ABOVE}


def remove_channels(model: Classifier, kept: Mapping[str, Bool[Tensor, " outputs"]]) -> Classifier:
    """A smaller network whose answers equal those of `model` with the dropped channels masked.

    Args:
        model: Stays as it is.
        kept: Per group of `layers.groups`, which channels stay, at least one; a group that is not named keeps all.

    Returns:
        On the same device and in the same mode, with copies of the surviving weights.
    """
    state, sizes = shrunk_state(model.state_dict(), model.spec, kept)
    spec: Spec
    if isinstance(model.spec, VGGSpec):
        *features, first, second, _ = (len(state[f"{name}.weight"]) for name in prunable_layers(model))
        spec = dataclasses.replace(model.spec, features=tuple(features), hidden=(first, second))
    else:
        spec = dataclasses.replace(model.spec, widths=tuple(sizes.items()))
    smaller = blank(spec)
    smaller.load_state_dict(state, assign=True)
    for parameter, original in zip(smaller.parameters(), model.parameters(), strict=True):
        parameter.requires_grad_(original.requires_grad)
    return smaller.train(model.training)
