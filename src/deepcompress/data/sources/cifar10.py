"""CIFAR-10, 60,000 photographs of 32 x 32 pixels in 10 classes; read as CIFAR-100 is, which names the source."""

from functools import partial

from deepcompress.data.sources.cifar100 import Options, load_cifar

__all__ = ["Options", "load"]

load = partial(load_cifar, name="cifar10", dataset="CIFAR10")
