"""Batch norm and dropout that act on the whole batch while each process runs its part of it.

torch has a synchronized batch norm for CUDA alone; this one runs wherever its processes can add tensors. Statistics
and their gradients are sums over all processes, counted in images, so that uneven parts are exact. Dropout draws
for the whole batch, from the generator that all processes seed alike, and takes its own rows.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as AnyBatchNorm

if TYPE_CHECKING:
    from jaxtyping import Float

    from deepcompress.data.batches import Shard

log = logging.getLogger(__name__)


@contextmanager
def synchronized(models: Iterable[nn.Module], shard: Shard | None) -> Iterator[None]:
    """Inside, batch norm and dropout of models see the whole batch; without a share they stay as they are.

    The layers stay the same objects, with their names, hooks and parameters; only what they do changes.
    """
    parts = {layer for model in models for layer in model.modules() if shard}  # once where two are the same model
    layers = [(layer, type(layer), _whole(layer)) for layer in parts]
    own = {kind.__name__ for layer, kind, whole in layers if isinstance(layer, AnyBatchNorm) and not whole}
    if own:
        log.info("each process takes the statistics of its own images in %s", ", ".join(sorted(own)))
    try:
        for layer, kind, whole in layers:
            layer.__class__ = whole or kind
            if isinstance(layer, WholeDropout) and shard:
                layer.shard = shard
        yield
    finally:
        for layer, kind, _ in layers:
            layer.__class__ = kind


def _whole(layer: nn.Module) -> type[nn.Module] | None:
    """What a layer becomes; None: it stays as it is."""
    followed = all(isinstance(getattr(layer, name, None), nn.Module) for name in ("drop", "act"))
    if isinstance(layer, nn.BatchNorm2d) and followed:  # timm's
        return WholeBatchNormAct2d
    swaps: dict[type[nn.Module], type[nn.Module]] = {
        nn.BatchNorm1d: WholeBatchNorm1d,
        nn.BatchNorm2d: WholeBatchNorm2d,
        nn.Dropout: WholeDropout,
    }
    return swaps.get(type(layer))


class WholeBatchNorm(AnyBatchNorm):
    """Batch norm over the images of all processes; with running statistics to evaluate by, and in its state, plain.

    Source: Ioffe and Szegedy, ICML 2015, https://arxiv.org/abs/1502.03167, algorithm 1, with the running variance
    unbiased as in torch.
    """

    def forward(self, input: Float[Tensor, "part channels ..."]) -> Tensor:
        if not self.training and self.running_mean is not None:
            return super().forward(input)
        normalised, mean, variance, values = _BatchNorm.apply(input, self.weight, self.bias, self.eps)
        with torch.no_grad():
            if values <= 1:
                raise ValueError("batch norm needs more than one value per channel when it trains")
            if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
                weight = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean, weight)
                self.running_var.lerp_(variance * (values / (values - 1)), weight)
        return normalised


class WholeBatchNorm1d(WholeBatchNorm, nn.BatchNorm1d):
    """Of vectors, or of sequences of them."""


class WholeBatchNorm2d(WholeBatchNorm, nn.BatchNorm2d):
    """Of maps."""


class WholeBatchNormAct2d(WholeBatchNorm2d):
    """As timm writes it: with what follows inside."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Float[Tensor, "part channels height width"]) -> Tensor:
        followed: Tensor = self.act(self.drop(super().forward(input)))
        return followed


class WholeDropout(nn.Dropout):
    """Dropout whose mask is this process's part of the mask of the whole batch."""

    shard: Shard  # this process's part
    rows: int  # of the whole batch at hand; `ModelWithLoss` sets it

    def forward(self, input: Float[Tensor, "part ..."]) -> Float[Tensor, "part ..."]:
        if not self.training or self.p == 0:
            return input
        factors = F.dropout(input.new_ones(self.rows, *input.shape[1:]), self.p)
        return input * factors[self.shard.part(slice(0, self.rows))]


class _BatchNorm(torch.autograd.Function):
    """Gives the normalised input, and mean, biased variance and number of values per channel, of all processes."""

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor | None, bias: Tensor | None, eps: Any
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        wide, places = maps.float(), _places(maps)
        count = wide.new_tensor([float(math.prod(maps.shape[place] for place in places))])
        sums = torch.cat([wide.sum(places), count])
        dist.all_reduce(sums)
        values = sums[-1]
        mean = sums[:-1] / values
        squares = (wide - _per_channel(mean, maps)).square_().sum(places)
        dist.all_reduce(squares)
        variance = squares / values
        normalised = F.batch_norm(maps, mean, variance, weight, bias, training=False, eps=eps)
        ctx.save_for_backward(maps, weight, mean, (variance + eps).rsqrt(), values)
        ctx.mark_non_differentiable(mean, variance, values)
        return normalised, mean, variance, values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        maps, weight, mean, scale, values = ctx.saved_tensors
        wide, places = gradients[0].float(), _places(maps)
        centred = (maps.float() - _per_channel(mean, maps)).mul_(_per_channel(scale, maps))
        of_bias, of_weight = wide.sum(places), (wide * centred).sum(places)
        sums = torch.cat([of_bias, of_weight])
        dist.all_reduce(sums)
        shift, slope = sums.view(2, -1) / values
        pulled = wide - centred.mul_(_per_channel(slope, maps)) - _per_channel(shift, maps)
        if weight is None:  # and no shift
            return pulled.mul_(_per_channel(scale, maps)).to(maps.dtype), None, None, None
        return pulled.mul_(_per_channel(weight * scale, maps)).to(maps.dtype), of_weight, of_bias, None


def _places(maps: Float[Tensor, "part channels ..."]) -> tuple[int, ...]:
    """Dimensions that statistics of a channel are taken over."""
    return (0, *range(2, maps.dim()))


def _per_channel(values: Float[Tensor, " channels"], maps: Tensor) -> Float[Tensor, "1 channels ..."]:
    return values.view(1, -1, *[1] * (maps.dim() - 2))
