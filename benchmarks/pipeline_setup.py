"""What both ways of `benchmarks.pipeline` start from: params.yaml, images, and the weights of every network and loss.

params.yaml is that of the source report (presets/paper.yaml) but for what makes it small: drawn images, narrow
networks, fewer images. In the place of ImageNet's weights stand those of a short training on other drawn images. They
are trained with batch norm, which the report's networks lack, because narrow networks learn little without it in so
few steps; it is then folded into the convolutions, and what is left is a plain VGG.
"""

from __future__ import annotations

import dataclasses
import itertools
from contextlib import chdir
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.nn.utils.fusion import fuse_conv_bn_eval

from deepcompress import params, preset, runtime
from deepcompress.data.batches import View
from deepcompress.data.store import DataConfig, Fit, open_fit, write_fit
from deepcompress.distillation.loss import LossContext
from deepcompress.distillation.settings import Distill
from deepcompress.distillation.student import build_losses
from deepcompress.models.spec import VGGSpec, asked
from deepcompress.models.vgg import VGG
from deepcompress.training import run
from deepcompress.training.loop import CrossEntropy
from deepcompress.training.recipe import Network

ROOT = Path(__file__).parents[1]
ARCHES = ("vgg11", "vgg16", "vgg19")
TEACHERS = ("vgg16", "vgg19")
METHODS = ("logit", "smoothed_logits", "hint", "crd", "dkd")
SPARSITIES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the report's sensitivity analysis
PRUNED = (0, 0.1, 0.25, 0.5, 0.75)  # of its accuracy against sparsity
FORMATS = ("fp16", "bf16", "int8", "int4")
PRETRAINING = Path("pretraining")
PRETRAINING_SEED = 77  # another than that of params.yaml, so that the images are others


@dataclasses.dataclass(frozen=True)
class Scale:
    """How small the protocol is run."""

    # Images of each of the 20 classes, of which a sixth is for validation, as in CIFAR-100's 50,000 and 10,000.
    per_class: int = 48
    stored: int = 32  # side of the stored images [px]
    # Side of the network's input [px]; a multiple of `stored` by a power of two, for which torchvision's resize of PIL
    # images and ours of tensors give the same pixels.
    size: int = 64
    width: float = 0.25  # of all networks
    negatives: int = 256  # of CRD, per image
    pretraining_per_class: int = 96  # other images, for the starting weights
    pretraining_epochs: int = 8  # over them


FULL = Scale()
QUICK = Scale(6, size=32, width=1 / 16, negatives=16, pretraining_per_class=6, pretraining_epochs=1)


def write(folder: Path, scale: Scale) -> None:
    """Fill a folder: `params.yaml`, `data/fit`, `start/<arch>.safetensors`, `start/<method>-<teacher>.safetensors`."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    text = preset.apply(preset.lay(text, "paper", ROOT / "presets"), _small(scale))
    (folder / params.PARAMS_FILE).write_text(text, encoding="utf-8")
    with chdir(folder):
        seed, data = params.seed(), params.section(DataConfig, "data")
        _draw(Path("data/fit"), data, data.options(data.source), data.seed)
        few = data.options(data.source).model_copy(update={"train_per_class": scale.pretraining_per_class})
        _draw(PRETRAINING, data, few, PRETRAINING_SEED)
        Path("start").mkdir()
        images = open_fit(Path("data/fit"))
        for arch in ARCHES:
            model = _trained_network(f"teachers.{arch}" if arch in TEACHERS else "distill.student", scale)
            save_file(model.state_dict(), f"start/{arch}.safetensors")
        for method in METHODS:
            for teacher in TEACHERS:
                save_file(_loss_start(method, teacher, images, seed), f"start/{method}-{teacher}.safetensors")


def _draw(folder: Path, data: DataConfig, options: Any, seed: int) -> None:
    plugin = params.plugin(data.plugins, data.source)
    source = plugin.load(options, stored_size=data.stored_size, seed=seed, workspace=folder)
    write_fit(folder, source, validation_fraction=data.validation_fraction, seed=seed)


def _small(scale: Scale) -> dict[str, Any]:
    """What differs from the preset `paper`. The report has no search for integers and scales, and learns no steps."""

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
        "quant": {"clipping": "none", "rounding": "nearest", "qat": {"steps": "fixed"}},
        "teachers": {name: network(name) for name in TEACHERS},
        "distill": {"student": network("vgg11"), "methods": {"crd": {"negatives": scale.negatives}}},
    }


def _trained_network(key: str, scale: Scale) -> VGG:
    """A network of the section `key`, trained on the images in `pretraining`."""
    section, images = params.section(Network, key), open_fit(PRETRAINING)
    normed = section.model_copy(update={"batch_norm": True, "dropout": 0.0})
    torch.manual_seed(runtime.derived_seed(PRETRAINING_SEED, "start", key))
    model = VGG(asked(normed, len(images.meta.classes)))
    recipe = section.recipe.model_copy(
        update={
            **{"trainable": "all", "epochs": scale.pretraining_epochs, "batch_size": 32, "learning_rate": 1.0e-3},
            **{"schedule": "one_cycle", "warmup_fraction": 0.3},
        }
    )
    data = run.TrainingRun(PRETRAINING, View(section.image_size, images.meta.mean, images.meta.std))
    fabric = runtime.start(params.section(runtime.Train, "train"), PRETRAINING_SEED)
    origin = {"stage": "pretraining", "seed": PRETRAINING_SEED, "key": key}
    data.train(model, CrossEntropy(0.0), recipe, fabric=fabric, provenance=origin)
    return _folded(model, asked(section, len(images.meta.classes)))


def _folded(normed: VGG, spec: VGGSpec) -> VGG:
    """The same function without batch norm."""
    model, layers = VGG(spec), list(normed.eval().features)
    folded = [
        fuse_conv_bn_eval(one, other)
        for one, other in itertools.pairwise(layers)
        if isinstance(one, torch.nn.Conv2d) and isinstance(other, torch.nn.BatchNorm2d)
    ]
    plain = [layer for layer in model.features if isinstance(layer, torch.nn.Conv2d)]
    for layer, found in zip(plain, folded, strict=True):
        layer.load_state_dict(found.state_dict())
    model.classifier.load_state_dict(normed.classifier.state_dict())
    return model


def _loss_start(method: str, teacher: str, images: Fit, seed: int) -> dict[str, torch.Tensor]:
    """What a loss trains and remembers, drawn as the stage of the student draws it."""
    how, classes = params.section(Distill, "distill"), len(images.meta.classes)
    network = VGG(asked(params.section(Network, f"teachers.{teacher}"), classes))
    runtime.make_deterministic(runtime.derived_seed(seed, "student"))
    student = run.network(how.student, classes, "distill.student")
    weighted = how.weighted(method)[1]
    (_, loss), *_ = build_losses(weighted, LossContext(student, network, torch.tensor(images.train.labels))).values()
    return dict(loss.state_dict())
