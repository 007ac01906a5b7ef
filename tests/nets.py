"""Small networks, few classes and images and a short training, that the steps are tried on."""

import numpy as np
import torch
from torch import Tensor

from deepcompress.data.batches import Batches, View
from deepcompress.data.store import Arrays, Fit, Meta
from deepcompress.models.build import build
from deepcompress.models.spec import GraphSpec, Model, VGGSpec, asked
from deepcompress.models.vgg import VGG, Classifier

CLASSES = ("one", "two", "three", "four")
SIDE = 32
WIDTHS = (4, 6, 8, 8, 10, 10, 12, 12)
VIEW = View(SIDE, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
RECIPE = {
    "trainable": "all",
    "epochs": 2,
    "batch_size": 16,
    "optimizer": "adamw",
    "learning_rate": 0.001,
    "weight_decay": 0.05,
    "schedule": "one_cycle",
}


def network(arch: str, *, seed: int = 0) -> Classifier:
    """A network in evaluation mode whose biases, batch norms and statistics all matter."""
    torch.manual_seed(seed)
    model = build(GraphSpec(arch, len(CLASSES), SIDE)).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith(("bias", "running_mean")):
                tensor.normal_(0, 0.1)
            elif tensor.dim() == 1:
                tensor.uniform_(0.8, 1.2)
    return model


def spec(arch: str = "vgg11", *, width: float = 1 / 16, batch_norm: bool = True, image_size: int = SIDE) -> VGGSpec:
    """Of a VGG without dropout, as the section `model` asks for it."""
    section = Model(arch=arch, batch_norm=batch_norm, width=width, hidden=256, dropout=0.0, image_size=image_size)
    return asked(section, len(CLASSES))


def vgg(*, batch_norm: bool = True, image_size: int = SIDE, features: tuple[int, ...] = WIDTHS) -> VGG:
    """A VGG-11 with weights, biases and batch statistics that all matter, in evaluation mode."""
    torch.manual_seed(0)
    model = VGG(VGGSpec("vgg11", batch_norm, features, (16, 16), len(CLASSES), image_size, 0.5))
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.startswith("classifier") and name.endswith("weight"):
                tensor.normal_(0, (2 / tensor.shape[1]) ** 0.5)
            elif tensor.dim() == 4:
                tensor.normal_(0, (2 / tensor[:, 0].numel()) ** 0.5)
            elif name.endswith("bias") or name.endswith("running_mean"):
                tensor.normal_(0, 0.2)
            elif tensor.dim() == 1:
                tensor.uniform_(0.5, 1.5)
    return model.eval()


def weight_of(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """A layer's weights, normally distributed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def arrays(images: int, number: int = 0, *, side: int = SIDE) -> Arrays:
    """Noise with labels in turn; another number gives another noise."""
    random = np.random.default_rng(number)
    pixels = random.integers(0, 256, (images, side, side, 3), dtype=np.uint8)
    return Arrays(images=pixels, labels=np.arange(images) % len(CLASSES))


def batches(images: int = 6, batch_size: int = 3, *, side: int = SIDE, seed: int | None = None) -> Batches:
    """Of `arrays`, as large as they are stored."""
    view = View(side, VIEW.mean, VIEW.std)
    return Batches(arrays(images, side=side), view, batch_size=batch_size, seed=seed)


def fit(train: int, validation: int) -> Fit:
    """So many images to learn from, and others to measure on."""
    meta = Meta(CLASSES, SIDE, VIEW.mean, VIEW.std, {}, "noise", "none")
    return Fit(arrays(train), arrays(validation, 1), meta)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two states have the same names and, bit for bit, the same values."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def state(model: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of what a model holds, to compare with later."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
