"""What every network here is: a module from normalised images to logits that carries the spec it was built from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from deepcompress.models.spec import Spec


class Classifier(nn.Module):
    """The common type of VGGs and of torchvision's networks; `build` in models/build.py makes both.

    Attributes:
        spec: Every number needed to build the network again, so that a checkpoint can.
    """

    spec: Spec
