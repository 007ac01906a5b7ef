"""How much each layer minds being pruned alone, at every sparsity, from a single pass over the data.

Per batch a VGG, which is a chain that can be entered at any layer, keeps the dense input of every layer; only what lies
behind the pruned one runs again, for all levels of pruning at once. Where shortcuts lead around layers the whole
network runs again for every layer and level; it is still one pass over the data. Beside a convolution what costs time
is memory: each wide map that is written anew. So ReLU writes in place where it can and stands behind max-pooling, with
which it commutes exactly, and on a CPU images pass in chunks. The model's weights are never written to.

Source of the scan: Li et al., ICLR 2017, https://arxiv.org/abs/1608.08710, section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from deepcompress.data.batches import Batches, View
from deepcompress.data.store import Fit, sampled
from deepcompress.measure.accuracy import evaluating, top_k_correct
from deepcompress.models.vgg import VGG, Classifier, pool_first, steps
from deepcompress.pruning.layers import in_scope
from deepcompress.pruning.masks import levels, parameter_masks, scored
from deepcompress.pruning.settings import GRANULARITY, Granularity, Method, Prune, Sensitivity

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

    from deepcompress.pruning.allocation import Curve

    Step = Callable[[Tensor], Tensor]

CHUNK_BYTES = 2**27  # of the widest map that a chunk of images makes on a CPU
ROWS_BYTES = 2**26  # of a linear layer's weight that are copied at a time


def sensitivity(
    model: Classifier, images: Fit, method: Method, settings: Sensitivity, prune: Prune, *, view: View, seed: int
) -> list[dict[str, Any]]:
    """Scan every layer that a method can prune, on validation images: rows of `scan`, with `method` and `criterion`.

    Args:
        model: Dense, on the device that runs it.
        images: To measure on, and to take gradients on where the criterion needs them; the seed draws them.
        method: Single weights, or filters and units.
        settings: Which sparsities, on how many images.
        prune: Names the method's criterion; where it recalibrates batch norms, they take each batch's statistics here.
        view: How images become the model's input.
        seed: Also of criteria that draw.
    """
    criterion = prune.method_config(method).criterion
    layers = in_scope(model, method, "all")
    scores = scored(model, method, criterion, layers, images, prune.scoring, view=view, seed=seed)
    drawn, device = sampled(images.validation, settings.samples, seed), next(model.parameters()).device
    batches = Batches(drawn, view, batch_size=settings.batch_size, device=device, least=2)
    own, granularity = prune.recalibrate > 0, GRANULARITY[method]
    rows = scan(model, batches, scores, settings.sparsities, granularity=granularity, recalibrate=own)
    return [{"method": method, "criterion": criterion, **row} for row in rows]


def scan(
    model: Classifier,
    batches: Batches,
    scores: Mapping[str, Float[Tensor, "outputs ..."]],
    sparsities: Sequence[float],
    *,
    granularity: Granularity,
    recalibrate: bool = False,
) -> list[dict[str, Any]]:
    """Accuracy and loss with one layer pruned, for each layer and sparsity.

    Args:
        model: On the device of the batches; stays as it is, bit for bit.
        batches: Validation images, in order.
        scores: Per layer to scan, of single weights or of output channels; the lowest go first.
        sparsities: Rising, in [0, 1); each layer keeps at least one unit.
        granularity: What the scores are of.
        recalibrate: Whether batch norms take the statistics of each batch, dense model included.

    Returns:
        A row per layer and sparsity: `layer`, `sparsity`, `pruned_units`, `units`, `top1_pct` and `top1_se_pct` (its
        standard error), `loss` (mean cross-entropy, nats) and `loss_se`, `right` answers of `n` images.
    """
    plans = [_Plan(name, scores[name], sparsities) for name in scores]
    dense = _Tally(1)
    tried = _Chain(model, granularity) if isinstance(model, VGG) else _Whole(model, granularity)
    work = tqdm(total=len(batches) * len(plans), desc="sensitivity", unit="layer", disable=None)
    statistics = batch_statistics(model) if recalibrate else nullcontext()
    with evaluating(model), statistics, torch.no_grad(), work:
        for batch in batches.epoch(0):
            dense.add_(tried.dense(batch.images), batch.labels)
            for plan in plans:
                if plan.levels:
                    answers = tried.pruned(plan.name, plan.survived, len(plan.levels))
                    plan.tally.add_(answers, batch.labels)
                work.update()
    return [row for plan in plans for row in plan.rows(dense)]


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Inside, batch norms take the statistics of the batch that they are given, and remember nothing.

    What `prune.recalibrate_` comes to where a model has many variants that each see a few hundred images once: no
    variant needs passes or statistics of its own.

    Args:
        model: In evaluation mode; its batches have two images or more.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    try:
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        for norm in norms:
            norm.training, norm.track_running_stats = False, True


def curves(rows: Iterable[Mapping[str, Any]]) -> dict[str, Curve]:
    """Per layer its achieved sparsities and top-1 [%], as an allocation reads them, from rows of `scan`."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        sparsities, top1 = found.setdefault(str(row["layer"]), ([], []))
        achieved = row["pruned_units"] / row["units"]
        if not sparsities or achieved > sparsities[-1]:
            sparsities.append(achieved)
            top1.append(row["top1_pct"])
    return dict(found)


class _Tally:
    """Sums over images, per variant."""

    def __init__(self, variants: int) -> None:
        self.variants, self.images = variants, 0
        self.right: Int[Tensor, " variants"] = torch.zeros(variants, dtype=torch.int64)
        self.loss: Float[Tensor, " variants"] = torch.zeros(variants, dtype=torch.float64)
        self.loss_squares: Float[Tensor, " variants"] = torch.zeros(variants, dtype=torch.float64)

    def add_(self, answers: Float[Tensor, "variants classes"], labels: Int[Tensor, " images"]) -> None:
        """Count the answers of all variants to some images, variant after variant."""
        repeated, answers = labels.cpu().repeat(self.variants), answers.cpu()
        losses = F.cross_entropy(answers.double(), repeated, reduction="none").view(self.variants, -1)
        self.right += top_k_correct(answers, repeated).view(self.variants, -1).sum(1)
        self.loss += losses.sum(1)
        self.loss_squares += losses.square().sum(1)
        self.images += len(labels)

    def numbers(self, variant: int) -> dict[str, Any]:
        """The measured columns of a row."""
        right, n = int(self.right[variant]), self.images
        share, loss = right / n, float(self.loss[variant]) / n
        variance = max(0.0, float(self.loss_squares[variant]) / n - loss**2)
        return {
            "top1_pct": 100 * share,
            "top1_se_pct": 100 * math.sqrt(share * (1 - share) / n),
            "loss": loss,
            "loss_se": math.sqrt(variance / n),
            "right": right,
            "n": n,
        }


class _Plan:
    """The variants of one layer: only different counts above zero are run."""

    def __init__(self, name: str, scores: Float[Tensor, "outputs ..."], sparsities: Sequence[float]) -> None:
        self.name, self.units, self.sparsities = name, scores.numel(), sparsities
        self.counts = [min(round(sparsity * self.units), self.units - 1) for sparsity in sparsities]
        self.levels = sorted(set(self.counts) - {0})
        self.survived, self.tally = levels(scores, self.levels), _Tally(len(self.levels))

    def rows(self, dense: _Tally) -> list[dict[str, Any]]:
        found = []
        for sparsity, count in zip(self.sparsities, self.counts, strict=True):
            numbers = self.tally.numbers(self.levels.index(count)) if count else dense.numbers(0)
            place = {"layer": self.name, "sparsity": sparsity, "pruned_units": count, "units": self.units}
            found.append(place | numbers)
        return found


# The answers of a network with one of its layers pruned: by what lies behind that layer, or by all of the network.


class _Whole:
    """A network in evaluation mode that answers to some images, then to the same ones with a layer pruned.

    Every level is a pass through all of the network; nothing is written to it.
    """

    def __init__(self, model: Classifier, granularity: Granularity) -> None:
        self._model, self._granularity, self._images = model, granularity, torch.empty(0)

    def dense(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        """The network's own answers; the images are those of all calls of `pruned` until the next one."""
        self._images = images
        return self._model(images)

    def pruned(self, name: str, survived: UInt8[Tensor, "outputs ..."], levels: int) -> Float[Tensor, "variants _"]:
        """Answers with one layer pruned at each level: of level 0 to all images, then of level 1, and so on.

        `survived` is how many of the levels each of its weights, or channels, survives.
        """
        return torch.cat([self._answers(name, survived > level) for level in range(levels)])

    def _answers(self, name: str, kept: Tensor) -> Tensor:
        changed = {}
        for key, mask in parameter_masks(self._model, self._granularity, {name: kept}).items():
            parameter = self._model.get_parameter(key).detach()
            changed[key] = parameter.masked_fill(mask.logical_not().to(parameter.device), 0)
        return torch.func.functional_call(self._model, changed, (self._images,))


class _Chain(_Whole):
    """Each link's input is kept, so that a pruned network is entered at its first link that differs."""

    def __init__(self, model: VGG, granularity: Granularity) -> None:
        super().__init__(model, granularity)
        self._links = _links(model)
        self._places = {link.name: place for place, link in enumerate(self._links)}
        self._linear = next(at for at, link in enumerate(self._links) if isinstance(link.layer, nn.Linear))
        self._inputs: list[Tensor] = []

    def dense(self, images: Tensor) -> Tensor:
        self._inputs = []
        for link in self._links:
            self._inputs.append(images)
            images = _by_chunks(images, [link])
        return images

    def pruned(self, name: str, survived: Tensor, levels: int) -> Tensor:
        """Where channels go, by the layer behind: the pruned one itself is not run again.

        A pruned channel is zero behind its batch norm, hence behind ReLU and pooling: to the next layer it is an input
        that is not there. Linear layers take many variants together, which cost them one reading of their weights.
        """
        channels = self._granularity == "channel"
        place = self._places[name] + (1 if channels else 0)
        link, value, behind = self._links[place], self._inputs[place], self._links[place + 1 :]
        if isinstance(link.layer, nn.Linear) and channels:
            columns = survived.repeat_interleave(value.shape[1] // len(survived))
            return _by_chunks(torch.cat([value * (columns > level) for level in range(levels)]), [link, *behind])
        if isinstance(link.layer, nn.Linear):
            return _by_chunks(link.behind(_linear(link.layer, value, survived, levels)), behind)
        convolved = _growing if channels else _shrinking
        variants: list[list[Tensor]] = [[] for _ in range(levels)]
        for part in value.split(_chunk(link, value)):
            for level, output in convolved(link.layer, part, survived, levels):
                variants[level].append(_by_chunks(link.behind(output), self._links[place + 1 : self._linear]))
        return _by_chunks(torch.cat([torch.cat(parts) for parts in variants]), self._links[self._linear :])


@dataclass(frozen=True)
class _Link:
    """A convolution or linear layer, and what follows it up to the next one."""

    name: str  # of the layer
    layer: nn.Conv2d | nn.Linear  # the layer
    post_ops: list[Step]  # batch norm, pooling, ReLU, flattening, in the order in which they run

    def behind(self, output: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """From the layer's output, which is not written to, to the next layer's input."""
        for at, step in enumerate(self.post_ops):
            output = F.relu_(output) if at and isinstance(step, nn.ReLU) else step(output)
        return output


def _links(model: VGG) -> list[_Link]:
    """The whole network in forward order, as it is in evaluation mode."""
    chain: list[tuple[str, nn.Conv2d | nn.Linear, list[Step]]] = []
    for name, step in steps(model):
        if isinstance(step, (nn.Conv2d, nn.Linear)):
            chain.append((name, step, []))
        elif not isinstance(step, nn.Dropout):
            chain[-1][2].append(step)
    return [_Link(name, layer, pool_first(rest)) for name, layer, rest in chain]


def _by_chunks(value: Float[Tensor, "batch ..."], chain: Sequence[_Link]) -> Float[Tensor, "batch ..."]:
    """What some links make of the first one's input."""
    if not chain:
        return value
    done = []
    for part in value.split(_chunk(chain[0], value)):
        for link in chain:
            part = link.behind(link.layer(part))
        done.append(part)
    return done[0] if len(done) == 1 else torch.cat(done)


def _chunk(link: _Link, value: Tensor) -> int:
    """How many images may pass `link` at once; further on in the network maps only get smaller.

    A convolution's 3x3 taps keep the size of the map. On other devices than the CPU all images pass at once.
    """
    if value.device.type != "cpu":
        return len(value)
    pixels = value[0, 0].numel() if isinstance(link.layer, nn.Conv2d) else 1
    return max(1, CHUNK_BYTES // (len(link.layer.weight) * pixels * value.element_size()))


def _growing(
    layer: nn.Conv2d, value: Tensor, survived: Tensor, levels: int
) -> Iterator[tuple[int, Float[Tensor, "batch filters height width"]]]:
    """The layer's output without some inputs, from the last level to the first; each is overwritten by the next.

    A convolution is linear in its inputs, so each variant is the one before plus the convolution of the channels that
    come back: all levels together cost one convolution.
    """
    total = None
    for level in reversed(range(levels)):
        fresh = survived > level if total is None else survived == level + 1
        channels = fresh.nonzero()[:, 0]
        weight = layer.weight.detach().index_select(1, channels)
        added = value.index_select(1, channels).contiguous(memory_format=torch.channels_last)
        if total is None:
            total = layer._conv_forward(added, weight, layer.bias)
        elif len(channels):
            total += layer._conv_forward(added, weight, None)
        yield level, total


def _shrinking(
    layer: nn.Conv2d, value: Tensor, survived: Tensor, levels: int
) -> Iterator[tuple[int, Float[Tensor, "batch filters height width"]]]:
    """The layer's output without some weights, from the first level to the last."""
    for level, weight in enumerate(_pruned(layer.weight.detach(), survived, levels)):
        yield level, layer._conv_forward(value, weight, layer.bias)


def _pruned(weight: Tensor, survived: Tensor, levels: int) -> Iterator[Tensor]:
    """The weight at each level; each is overwritten by the next."""
    remaining = weight.clone()
    for level in range(levels):
        yield remaining.masked_fill_(survived == level, 0)


def _linear(layer: nn.Linear, value: Tensor, survived: Tensor, levels: int) -> Float[Tensor, "variants outputs"]:
    """The layer's output at each level, some rows of the weight at a time."""
    weight = layer.weight.detach()
    answers = value.new_empty(levels, len(value), len(weight))
    rows = max(1, ROWS_BYTES // (weight.shape[1] * weight.element_size()))
    for start in range(0, len(weight), rows):
        part = slice(start, start + rows)
        for level, remaining in enumerate(_pruned(weight[part], survived[part], levels)):
            answers[level, :, part] = F.linear(value, remaining, layer.bias[part])
    return answers.flatten(0, 1)
