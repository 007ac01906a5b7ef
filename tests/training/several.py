"""Trainings that end alike on one process and on several; run as a program, it writes the weights of each.

python -m tests.training.several PROCESSES FILE [NAME ...]
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from deepcompress import runtime
from deepcompress.distillation.loss import LossContext
from deepcompress.distillation.settings import LOSSES
from deepcompress.distillation.student import DistillObjective, build_losses, cached_teacher
from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG
from deepcompress.params import plugin
from deepcompress.quantization import ptq, qat
from deepcompress.quantization.quantize import assign
from deepcompress.training import loop
from deepcompress.training.loop import CrossEntropy, Objective
from deepcompress.training.recipe import History, Recipe
from deepcompress.training.run import TrainingData, trainable_part
from tests import nets
from tests.odd_nets import NormAndReLU
from tests.training.conftest import data

CLASSES, IMAGES = len(nets.CLASSES), 64
CRD = {"negatives": 8, "width": 16}
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
AUGMENT = {"flip": True, "crop_padding": 2, "jitter": JITTER}
HINT = {"stages": 2, "guided_layer": "block4", "hint_layer": "block4"}
CASES: dict[str, dict[str, Any]] = {  # arguments of `labels`, `with_norms`, `quantized` or, with losses, `taught`
    "even": {"batch_size": 16},
    "augmented": {"batch_size": 16, "augment": AUGMENT},
    "uneven_with_dropout": {"batch_size": 25, "dropout": 0.5},
    "one_image_left": {"batch_size": 21},
    "adamw": {"batch_size": IMAGES, "epochs": 1, "optimizer": "adamw", "learning_rate": 1e-4},  # a single step
    "head": {"batch_size": 21, "trainable": "head", "learning_rate": 0.1},
    "bf16": {"batch_size": 25, "learning_rate": 1e-3},
    "bf16_in_32_bits": {"batch_size": 25, "learning_rate": 1e-3},
    "other_norms": {"norms": True},
    "other_norms_averaged": {"norms": True, "average": 0.5},
    "qat": {"bits": "int4"},
    "logit": {"losses": {"logit": (1.0, {})}},
    "crd": {"losses": {"crd": (0.1, CRD)}},
    "hint_in_two_stages": {"losses": {"hint": (0.5, HINT)}},
    "pairs_of_images": {"losses": {"sp": (10.0, {"layer": "block4"}), "at": (1.0, {})}},
    "live_teacher": {"losses": {"logit": (1.0, {}), "crd": (0.1, CRD)}, "augment": AUGMENT},
}


def network(number: int, arch: Any = "vgg11", dropout: float = 0.0) -> VGG:
    torch.manual_seed(number)
    widths = {"vgg11": (4, 4, 8, 8, 8, 8, 16, 16), "vgg13": (4, 4, 8, 8, 8, 8, 16, 16, 16, 16)}[arch]
    made = VGG(VGGSpec(arch, True, widths, (16, 16), CLASSES, 32, dropout))
    torch.nn.init.normal_(made.classifier[6].weight, 0, 0.2)
    return made


def recipe(**changes: Any) -> Recipe:
    common = {"batch_size": 25, "optimizer": "sgd", "learning_rate": 1e-2, "schedule": "cosine"}
    return Recipe(**nets.RECIPE | common | changes)


def train(fabric: Fabric, model: nn.Module, objective: Objective, made: Recipe, seen: TrainingData) -> History:
    part, features = trainable_part(model, seen, made, fabric=fabric)
    return loop.train(part, objective, features, made, fabric=fabric, seed=0)


def labels(fabric: Fabric, *, dropout: float = 0.0, **changes: Any) -> tuple[VGG, History]:
    model, made = network(0, dropout=dropout), recipe(**changes)
    return model, train(fabric, model, CrossEntropy(0.1), made, data(made))


def with_norms(fabric: Fabric, norms: bool, **changes: Any) -> tuple[nn.Module, History]:
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(3, 8, 3, 2), NormAndReLU(8), nn.Conv2d(8, 8, 3, 2), nn.BatchNorm2d(8, affine=False)]
    convolutions += [nn.Conv2d(8, 8, 3, 2), nn.BatchNorm2d(8, track_running_stats=False)]
    hidden = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 8), nn.BatchNorm1d(8, momentum=None), nn.ReLU()]
    model, made = nn.Sequential(*convolutions, *hidden, nn.Linear(8, CLASSES)), recipe(**changes)
    return model, train(fabric, model, CrossEntropy(), made, data(made))


def quantized(fabric: Fabric, bits: str) -> tuple[VGG, History]:
    model, made = network(0), recipe()
    formats = assign(model, bits, group_size=8)
    qat.attach_(model, formats, ptq.without_images(model, formats), steps="learned")
    history = train(fabric, model, CrossEntropy(), made, data(made))
    qat.detach_(model)
    return model, history


def taught(fabric: Fabric, losses: dict[str, Any], **changes: Any) -> tuple[VGG, History]:
    """At a lower rate than the others: at theirs a last digit grows to the third within six steps."""
    model, made = network(0), recipe(**{"learning_rate": 3e-3, **changes})
    teacher, seen = network(1, "vgg13").requires_grad_(False).eval(), data(made)
    options = {name: (weight, plugin(LOSSES, name).Options(**block)) for name, (weight, block) in losses.items()}
    built = build_losses(options, LossContext(model, teacher, torch.from_numpy(seen.train.arrays.labels)))
    taps = list(dict.fromkeys(tap for _, loss in built.values() for tap in loss.teacher_taps))
    logits = any(loss.reads_logits for _, loss in built.values())
    with tempfile.TemporaryDirectory() as own:
        folder, images = runtime.from_first(lambda: Path(own)), seen.train
        answers = cached_teacher(teacher, images, taps, logits=logits, fabric=fabric, folder=folder, budget_mib=16)
        runtime.wait()
    steps = len(seen.train)
    lesson = DistillObjective(built, answers, cross_entropy=1.0, label_smoothing=0.0, steps_per_epoch=steps)
    return model, train(fabric, model, lesson, made, seen)


def run(fabric: Fabric, name: str) -> tuple[nn.Module, History]:
    case = CASES[name]
    way: Any = (
        taught if "losses" in case else quantized if "bits" in case else with_norms if "norms" in case else labels
    )
    ended: tuple[nn.Module, History] = way(fabric, **case)
    return ended


def main(count: str, file: str, *names: str) -> None:
    """Run cases and write their weights and histories."""
    ends: dict[str, Any] = {}
    for name in names or CASES:
        precision: Any = "bf16-mixed" if name == "bf16" else "32-true"
        fabric = runtime.start(runtime.Train(device="cpu", precision=precision, devices=int(count)), 0)
        assert runtime.process_count() == int(count)
        model, history = run(fabric, name)
        ends[name] = {"weights": model.state_dict(), "history": history.rows()}
    runtime.first_only()
    torch.save(ends, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
