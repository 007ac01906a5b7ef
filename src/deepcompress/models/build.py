"""The one door to a network: from its spec, whether a VGG or a network that is known by its graph."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch

from deepcompress.models.spec import VGGSpec, dense
from deepcompress.models.vgg import VGG

if TYPE_CHECKING:
    from deepcompress.models.spec import Spec
    from deepcompress.models.vgg import Classifier


def build(spec: Spec) -> Classifier:
    """The network of a spec, with weights from torch's global generator.

    Raises:
        UserError: If there is no such network, or the spec gives sizes to layers that it does not have.
    """
    if isinstance(spec, VGGSpec):
        return VGG(spec)
    from deepcompress.models import graph

    return graph.build(spec)


def blank(spec: Spec) -> Classifier:
    """The same in evaluation mode, to look at or to load weights into; draws no random numbers.

    Load with `assign=True`: what this gives for weights means nothing and may take no memory.
    """
    if isinstance(spec, VGGSpec):
        with torch.device("meta"):
            return VGG(spec).eval()
    from deepcompress.models import graph

    with graph.blank(spec):
        return graph.build(spec).eval()


@functools.cache
def outline(spec: Spec) -> Classifier:
    """The blank network with all its channels, made once; nobody may change it."""
    return blank(dense(spec))
