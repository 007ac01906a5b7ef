"""What both ways of `benchmarks.pipeline` start from: params.yaml, images, and the weights of every network and loss.

params.yaml is that of the source report (presets/paper.yaml) but for what makes it small: drawn images, narrow
networks, fewer images. In the place of ImageNet's weights stand random ones whose layers give every channel the mean 0
and the deviation 1 over some images, so that, as in a trained network, no channel is dead and none is like another.
Source of these: Kraehenbuehl et al., ICLR 2016, https://arxiv.org/abs/1511.06856, section 3.1.
"""

from __future__ import annotations

import dataclasses
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from deepcompress import params, preset, registry, runtime
from deepcompress.data.batches import Batches, View
from deepcompress.data.settings import Data
from deepcompress.data.store import open_fit, write_fit
from deepcompress.distillation import transfer
from deepcompress.distillation.loss import Setting
from deepcompress.distillation.network import Network
from deepcompress.distillation.settings import Distill
from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG, prunable_layers
from deepcompress.training import start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deepcompress.data.store import Fit

ROOT = Path(__file__).parents[1]
ARCHES = ("vgg11", "vgg16", "vgg19")
TEACHERS = ("vgg16", "vgg19")
METHODS = ("logit", "smoothed_logits", "hint", "crd", "dkd")
SPARSITIES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the report's sensitivity analysis
PRUNED = (0, 0.1, 0.25, 0.5, 0.75)  # of its accuracy against sparsity
FORMATS = ("fp16", "bf16", "int8", "int4")
IMAGES_TO_SCALE_ON = 64


@dataclasses.dataclass(frozen=True)
class Scale:
    """How small the protocol is run.

    Attributes:
        per_class: Images of each of the 20 classes, of which a sixth is for validation, as in CIFAR-100's 50,000 and
            10,000.
        stored: Side of the stored images [px].
        size: Side of the network's input [px]; a multiple of `stored` by a power of two, for which torchvision's
            resize of PIL images and ours of tensors give the same pixels.
        width: Of all networks.
        negatives: Of CRD, per image.
    """

    per_class: int = 48
    stored: int = 32
    size: int = 64
    width: float = 0.25
    negatives: int = 256


FULL = Scale()
QUICK = Scale(per_class=6, size=32, width=1 / 16, negatives=16)


def write(folder: Path, scale: Scale) -> None:
    """Fill a folder: `params.yaml`, `data/fit`, `start/<arch>.safetensors`, `start/<method>-<teacher>.safetensors`."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    for overlay in (preset.load("quick", ROOT / "presets"), preset.load("paper", ROOT / "presets"), _small(scale)):
        text = preset.apply(text, overlay)
    (folder / params.PARAMS_FILE).write_text(text, encoding="utf-8")
    with inside(folder):
        seed, data = params.seed(), params.section(Data, "data")
        options = data.options(data.source)
        source = registry.find(data.plugins, data.source).load(
            options, stored_size=data.stored_size, seed=seed, workspace=folder
        )
        write_fit(Path("data/fit"), source, validation_fraction=data.validation_fraction, seed=seed)
        Path("start").mkdir()
        images = open_fit(Path("data/fit"))
        for arch in ARCHES:
            model = _lively_network(f"teachers.{arch}" if arch in TEACHERS else "distill.student", images, seed)
            save_file(model.state_dict(), f"start/{arch}.safetensors")
        for method in METHODS:
            for teacher in TEACHERS:
                save_file(_loss_start(method, teacher, images, seed), f"start/{method}-{teacher}.safetensors")


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Run with a folder as the working directory, as a stage does."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _small(scale: Scale) -> dict[str, Any]:
    """What differs from the preset `paper`. Scales of integers clip nothing: the report has no search for them."""

    def network(arch: str) -> dict[str, Any]:
        weights = f"start/{arch}.safetensors"
        return {"width": scale.width, "image_size": scale.size, "weights": weights}

    return {
        "train": {"device": "cpu", "precision": "32-true"},
        "data": {
            "source": "shapes",
            "stored_size": scale.stored,
            "validation_fraction": 1 / 6,
            "shapes": {"train_per_class": scale.per_class, "test_per_class": 1},
        },
        "model": network("vgg11"),
        "sensitivity": {"sparsities": [0, *SPARSITIES]},
        "quant": {"clipping": "none"},
        "teachers": {name: network(name) for name in TEACHERS},
        "distill": {"student": network("vgg11"), "methods": {"crd": {"negatives": scale.negatives}}},
    }


def _lively_network(key: str, images: Fit, seed: int) -> VGG:
    """A network of the section `key`, each layer of which gives channels of mean 0 and deviation 1."""
    section = params.section(Network, key)
    torch.manual_seed(runtime.derived_seed(seed, "start", key))
    model = VGG(VGGSpec.from_model_section(section, len(images.meta.classes))).eval()
    view = View(section.image_size, images.meta.mean, images.meta.std)
    some = next(Batches(images.train, view, batch_size=IMAGES_TO_SCALE_ON, seed=seed).epoch(0)).images
    *hidden, _ = prunable_layers(model).values()
    hooks = [layer.register_forward_hook(_scale_) for layer in hidden]
    with torch.no_grad():
        model(some)
    for hook in hooks:
        hook.remove()
    return model


def _scale_(layer: torch.nn.Conv2d | torch.nn.Linear, _: Any, output: torch.Tensor) -> torch.Tensor:
    """Change the weights so that the output's channels have mean 0 and deviation 1, and give that output."""
    deviations, means = torch.std_mean(output.transpose(0, 1).flatten(1), dim=1)
    layer.weight.div_(deviations.view(-1, *[1] * (layer.weight.dim() - 1)))
    assert layer.bias is not None  # zero so far
    layer.bias.copy_(-means / deviations)
    shape = (1, -1, *[1] * (output.dim() - 2))
    return (output - means.view(shape)) / deviations.view(shape)


def _loss_start(method: str, teacher: str, images: Fit, seed: int) -> dict[str, torch.Tensor]:
    """What a loss trains and remembers, drawn as the stage of the student draws it."""
    how, classes = params.section(Distill, "distill"), len(images.meta.classes)
    network = VGG(VGGSpec.from_model_section(params.section(Network, f"teachers.{teacher}"), classes))
    runtime.make_deterministic(runtime.derived_seed(seed, "student", how.seeds[0]))
    student = start.network(how.student, classes)
    weighted = how.weighted(method)[1]
    (_, loss), *_ = transfer.build(weighted, Setting(student, network, torch.tensor(images.train.labels))).values()
    return dict(loss.state_dict())
