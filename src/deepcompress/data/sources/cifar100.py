"""CIFAR-100, 60,000 photographs of 32 x 32 pixels in 100 classes, downloaded and verified by torchvision.

Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009,
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.data.sources import _cifar

if TYPE_CHECKING:
    from pathlib import Path

    from deepcompress.data.store import Source


class Options(_cifar.Options):
    """The `data.cifar100` block."""


def load(options: Options, *, stored_size: int, seed: int, workspace: Path) -> Source:
    """Download and read CIFAR-100; it has its own test images, so the seed decides nothing here.

    Raises:
        UserError: If the address cannot be reached, the checksum is wrong or the archive is no CIFAR-100.
    """
    from torchvision.datasets import CIFAR100

    return _cifar.load_cifar(CIFAR100, options, name="cifar100", stored_size=stored_size, workspace=workspace)
