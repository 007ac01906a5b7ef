"""CIFAR-10, 60,000 photographs of 32 x 32 pixels in 10 classes, downloaded and verified by torchvision.

Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009,
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from functools import partial

from deepcompress.data.sources import _cifar

Options = _cifar.Options
load = partial(_cifar.load, name="cifar10", dataset="CIFAR10")
