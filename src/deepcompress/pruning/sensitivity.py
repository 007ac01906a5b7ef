"""How much each layer minds being pruned alone, at every sparsity, from a single pass over the data.

Per batch the dense input of every layer is kept, and for each pruned layer only what lies behind it runs
again (in a chain; see chain.py); the plain way is a full pass over the data per layer and sparsity. The model's
weights are never written to. Source of the scan: Li et al., ICLR 2017, https://arxiv.org/abs/1608.08710, section 3.2.
"""

from __future__ import annotations

import math
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from deepcompress import params
from deepcompress.data.batches import Batches
from deepcompress.data.store import sampled
from deepcompress.measure.accuracy import evaluating, top_k_correct
from deepcompress.pruning.chain import pruned_forward
from deepcompress.pruning.layers import GRANULARITY, group_scores, in_scope, norm_scales, scored_layers
from deepcompress.pruning.masks import batch_gradients, levels, score

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from jaxtyping import Float, Int, UInt8
    from torch import Tensor, nn

    from deepcompress.data.batches import View
    from deepcompress.data.store import Arrays, Fit
    from deepcompress.models.vgg import Classifier
    from deepcompress.pruning.allocation import Curve
    from deepcompress.pruning.masks import Granularity, Layers
    from deepcompress.pruning.settings import Method, Prune, Scoring, Sensitivity


def sensitivity(
    model: Classifier, images: Fit, method: Method, settings: Sensitivity, prune: Prune, *, view: View, seed: int
) -> list[dict[str, Any]]:
    """Scan every layer that a method can prune, on validation images.

    Args:
        model: Dense, on the device that runs it.
        images: To measure on, and to take gradients on where the criterion needs them.
        method: Single weights, or filters and units.
        settings: Which sparsities, on how many images.
        prune: Names the method's criterion; where it recalibrates batch norms, they take each batch's statistics here.
        view: How images become the model's input.
        seed: Draws the images.

    Returns:
        Rows of `sensitivity.scan`, each with `method` and `criterion`.
    """
    layers, criterion = in_scope(model, method, "all"), prune.method_config(method).criterion
    judges = scored_layers(model, method, layers)
    taken = gradients(criterion, model, judges, images, prune.scoring, view=view, seed=seed)
    own, granularity, scales = prune.recalibrate > 0, GRANULARITY[method], norm_scales(model)
    scores = score(criterion, judges, granularity, seed=seed, gradients=taken, norm_scales=scales)
    if method == "structured":
        scores = group_scores(model, scores)
    batches = _batches(sampled(images.validation, settings.samples, seed), view, settings.batch_size, _device(model))
    rows = scan(model, batches, scores, settings.sparsities, granularity=granularity, recalibrate=own)
    return [{"method": method, "criterion": criterion, **row} for row in rows]


def gradients(
    criterion: str, model: Classifier, layers: Layers, images: Fit, scoring: Scoring, *, view: View, seed: int
) -> Iterator[Mapping[str, Tensor]] | None:
    """Gradients of some training images, for a criterion that needs them; None for any other."""
    if not params.plugin("pruning.criteria", criterion).NEEDS_GRADIENTS:
        return None
    batches = _batches(sampled(images.train, scoring.samples, seed), view, scoring.batch_size, _device(model))
    return batch_gradients(model, layers, batches.epoch(0))


def _batches(arrays: Arrays, view: View, batch_size: int, device: torch.device) -> Batches:
    return Batches(arrays, view, batch_size=batch_size, device=device, least=min(2, batch_size))


def _device(model: Classifier) -> torch.device:
    return next(model.parameters()).device


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
    plans = [_Plan.of(name, scores[name], sparsities) for name in scores]
    dense, tried = _Tally(1), pruned_forward(model, granularity)
    work = tqdm(total=len(batches) * len(plans), desc="sensitivity", unit="layer", disable=None)
    statistics = batch_statistics(model) if recalibrate else nullcontext()
    with evaluating(model), statistics, torch.no_grad(), work:
        for batch in batches.epoch(0):
            dense.add_(tried.dense(batch.images), batch.labels)
            for plan in plans:
                if plan.counts:
                    answers = tried.pruned(plan.name, plan.survived, len(plan.counts))
                    plan.tally.add_(answers, batch.labels)
                work.update()
    return [row for plan in plans for row in plan.rows(sparsities, dense)]


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Inside, batch norms take the statistics of the batch that they are given, and remember nothing.

    What `prune.recalibrate_` comes to where a model has many variants that each see a few hundred images once: no
    variant needs passes or statistics of its own.

    Args:
        model: In evaluation mode; its batches have two images or more.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
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


@dataclass
class _Plan:
    """The variants of one layer: only different counts above zero are run."""

    name: str
    units: int
    counts: list[int]
    survived: UInt8[Tensor, "outputs ..."]
    tally: _Tally = field(init=False)

    def __post_init__(self) -> None:
        self.tally = _Tally(len(self.counts))

    @classmethod
    def of(cls, name: str, scores: Tensor, sparsities: Sequence[float]) -> _Plan:
        counts = sorted({_count(sparsity, scores.numel()) for sparsity in sparsities} - {0})
        return cls(name, scores.numel(), counts, levels(scores, counts))

    def rows(self, sparsities: Sequence[float], dense: _Tally) -> list[dict[str, Any]]:
        found = []
        for sparsity in sparsities:
            count = _count(sparsity, self.units)
            numbers = self.tally.numbers(self.counts.index(count)) if count else dense.numbers(0)
            place = {"layer": self.name, "sparsity": sparsity, "pruned_units": count, "units": self.units}
            found.append(place | numbers)
        return found


def _count(sparsity: float, units: int) -> int:
    return min(round(sparsity * units), units - 1)
