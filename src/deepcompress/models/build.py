"""The one door to a network: from its spec, whether ours or torchvision's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG

if TYPE_CHECKING:
    from deepcompress.models.spec import Spec
    from deepcompress.models.vgg import Classifier


def build(spec: Spec) -> Classifier:
    """The network of a spec, with weights from torch's global generator.

    Raises:
        UserError: If the spec gives sizes to layers that the network does not have.
    """
    if isinstance(spec, VGGSpec):
        return VGG(spec)
    from deepcompress.models import torchvision

    return torchvision.build(spec)
