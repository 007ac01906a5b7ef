"""Batch norms and biases of a quantized model in 16 bits, and of a batch norm only what still tells two channels apart.

In a small file they weigh: of a VGG-11 at 95 % zeros and 4 bits, five float32 numbers per channel are a quarter. An
evaluated batch norm is one factor and one shift per channel, so its mean, its variance and the bias of the convolution
before it are worked into these two, and are the same for all channels then. What that changes is measured, and little:
docs/results.md, "Coded integers".
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

LARGEST = torch.finfo(torch.float16).max


@torch.no_grad()
def round_vectors_(model: nn.Module) -> None:
    """Work batch norms into factor and shift, and round these and all biases to float16, in place.

    The model is to be evaluated, no longer trained: statistics that are estimated anew would undo it.

    Args:
        model: With its convolutions' biases followed by their batch norms in an `nn.Sequential`, or without biases.
    """
    for block in model.modules():
        for layer, norm in itertools.pairwise(block) if isinstance(block, nn.Sequential) else ():
            if isinstance(layer, nn.Conv2d) and layer.bias is not None and _has_statistics(norm):
                norm.running_mean -= layer.bias
                layer.bias.zero_()
    for norm in model.modules():
        if _has_statistics(norm):
            factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            norm.bias -= norm.running_mean * factor
            norm.weight.copy_(factor)
            norm.running_mean.zero_()
            norm.running_var.fill_(_unit_variance(norm.eps))
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.copy_(halves(parameter))


def halves(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The nearest values that float16 holds; what is beyond its largest becomes that."""
    return values.clamp(-LARGEST, LARGEST).half().float()


def _has_statistics(norm: nn.Module) -> TypeGuard[Any]:
    return isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None and norm.weight is not None


def _unit_variance(eps: float) -> float:
    """The float32 that adds up to 1 with eps."""
    one, variance = torch.ones(()), torch.tensor(1 - eps)
    return float(variance + (one - (variance + eps)))
