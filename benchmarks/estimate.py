"""What a preset would cost on a device that is not here: hours and memory from counts, by assumption, not measured.

    FLOPs = 2 x MACs of one image x (images seen + 3 x images trained on); backward counts twice forward
    hours = FLOPs / (peak x utilisation) / 3600
    bytes = 4 x (parameters x copies + batch x values that layers give) + bytes of the stored images

Copies are the weight, its gradient and what the optimizer keeps. Stages that train nothing, loading and compiling
are left out. Peaks are the makers' dense figures; the CPU's is 8 cores x 3 GHz x 32 operations (AVX2, two FMA).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
import yaml

from deepcompress import params, preset
from deepcompress.distillation.settings import Distill, Teachers, require_teachers
from deepcompress.errors import Command
from deepcompress.measure.cost import layer_macs, parameters
from deepcompress.models.spec import Model, asked
from deepcompress.models.vgg import VGG
from deepcompress.plan_table import BASELINE
from deepcompress.quantization.settings import QatRecipe
from deepcompress.training.recipe import Network as Teacher
from deepcompress.training.recipe import Recipe

IMAGES, CLASSES = {"cifar100": 50_000, "shapes": 5_000}, {"cifar100": 100, "shapes": 20}
DEVICES = {  # peak in TFLOP/s: float32, and 16 bits with tensor cores (0: no gain)
    "8-core CPU": (0.77, 0.0),
    "T4": (8.1, 65.0),
    "A100": (19.5, 312.0),
    "H100": (67.0, 989.0),
}
UTILISATION = {"32-true": 0.4, "16 bits": 0.15}
STATES = {"adam": 2, "adamw": 2, "sgd": 1}
GIB = 2**30


@dataclass(frozen=True)
class Training:
    """One training of the pipeline.

    Attributes:
        stage: Its name in dvc.yaml.
        flops: Of all its steps.
        size_bytes: Memory that it needs at once.
    """

    stage: str
    flops: float
    size_bytes: float


@dataclass(frozen=True)
class Network:
    """What a network counts: MACs and values that its layers give for one image, the most of one layer, parameters."""

    macs: int
    values: int
    widest: int
    parameters: int


def counted(section: Model, classes: int) -> Network:
    """Counts of a network, from one pass of one image."""
    model, values = VGG(asked(section, classes)).eval(), []
    for layer in model.modules():
        if not list(layer.children()):
            layer.register_forward_hook(lambda _, inputs, output: values.append(output.numel()))
    macs = sum(layer_macs(model).values())
    return Network(macs, sum(values), max(values), parameters(model)["total"])


def training(stage: str, network: Network, recipe: Recipe, images: int, validation: int, extra: float = 0) -> Training:
    """Cost of one training; `extra` are FLOPs of a teacher."""
    once = recipe.trainable == "head" and not recipe.augment.model_dump(exclude_defaults=True)
    seen = validation * (1 if once else recipe.epochs)
    if recipe.trainable == "head":
        seen, trained, copies = seen + images * (1 if once else recipe.epochs), 0, 1
        values = 2 * network.widest
    else:
        trained, copies, values = recipe.epochs * images, 2 + STATES[recipe.optimizer], network.values
    size = 4 * (network.parameters * copies + recipe.batch_size * values)
    return Training(stage, 2.0 * network.macs * (seen + 3 * trained) + extra, size)


def trainings(document: dict[str, Any]) -> Iterator[Training]:
    """Every training that params call for; pruned networks count as dense ones, which is the most they cost."""
    source, share = document["data"]["source"], document["data"]["validation_fraction"]
    validation = round(IMAGES[source] * share)
    counts = {"images": IMAGES[source] - validation, "validation": validation}
    base = counted(params.validate(Model, document["model"], "model"), CLASSES[source])
    yield training("finetune", base, params.validate(Recipe, document["finetune"], "finetune"), **counts)
    prune, quant = document["prune"], document["quant"]
    after = params.validate(Recipe, prune["finetune"], "prune.finetune")
    for _ in range(2 + len(prune["sweep"]["methods"]) * len(prune["sweep"]["sparsities"])):
        yield training("prune, prune_sweep, prune_control", base, after, **counts)
    qat = params.validate(QatRecipe, quant["qat"], "quant.qat")
    for _ in range((quant["mode"] == "qat") + sum(cell.startswith("qat") for cell in quant["sweep"])):
        yield training("quantize, quantize_sweep", base, qat, **counts)
    yield from _distillation(document, counts, CLASSES[source])
    whole = after.model_copy(update={"trainable": "all"})
    for step, recipe in (("prune", after), ("distill", whole)):
        for _ in document["combine"][step]:
            yield training(f"combine_{step}", base, recipe, **counts)
    for link in document["combine"]["quantize"].values():
        if link.get("mode", quant["mode"]) == "qat":
            yield training("combine_quantize", base, qat, **counts)


def _distillation(document: dict[str, Any], counts: dict[str, int], classes: int) -> Iterator[Training]:
    """Teachers, and every student; a teacher answers once, or in each epoch if images change."""
    distill = params.validate(Distill, document["distill"], "distill")
    require_teachers(distill, params.validate(Teachers, document["teachers"], "teachers"))
    costs = {}
    for name, block in document["teachers"].items():
        section = params.validate(Teacher, block, f"teachers.{name}")
        network = counted(section, classes)
        costs[name] = 2.0 * network.macs * counts["images"]
        yield training("train_teacher", network, section.recipe, **counts)
    student, recipe = counted(distill.student, classes), distill.student.recipe
    live = bool(recipe.augment.model_dump(exclude_defaults=True))
    taught = [teacher for _, teacher in distill.taught()]
    for teacher in [*distill.controls, *taught, *(BASELINE for _ in distill.baseline)]:
        extra = costs.get(teacher, 0.0) * recipe.epochs if live else 0.0
        yield training("distill", student, recipe, **counts, extra=extra)
    if not live:
        yield Training("distill", sum(costs[name] for name in distill.teachers), 0)


def table(name: str) -> list[str]:
    """Lines of one preset: FLOPs, memory, and hours per device, by stage and in all."""
    text = Path(params.PARAMS_FILE).read_text(encoding="utf-8")
    document = params.filled(yaml.safe_load(preset.lay(text, name)))
    found = list(trainings(document))
    stored = IMAGES[document["data"]["source"]] * document["data"]["stored_size"] ** 2 * 3
    lines = ["stage | trainings | PFLOP | " + " | ".join(DEVICES)]
    for stage in [*dict.fromkeys(one.stage for one in found), "all"]:
        chosen = [one for one in found if stage in (one.stage, "all")]
        flops = sum(one.flops for one in chosen)
        cells = [_hours(flops, *peaks) for peaks in DEVICES.values()]
        lines.append(
            f"{stage} | {sum(one.size_bytes > 0 for one in chosen)} | {flops / 1e15:.3g} | " + " | ".join(cells)
        )
    peak = max(one.size_bytes for one in found)
    return [f"preset {name}: {(peak + stored) / GIB:.2f} GiB at the most demanding training, in 32 bits", *lines]


def _hours(flops: float, single: float, half: float) -> str:
    """Hours in 32 bits, and in 16 where the device has tensor cores."""
    pairs = [(single, UTILISATION["32-true"]), (half, UTILISATION["16 bits"])]
    return " / ".join(f"{flops / (peak * 1e12 * used) / 3600:.2g}" for peak, used in pairs if peak)


@click.command(cls=Command)
@click.argument("names", nargs=-1)
def main(names: tuple[str, ...]) -> None:
    """Estimate presets: hours as `32 bits / 16 bits` for each device."""
    torch.manual_seed(0)
    for name in names or ("quick", "cifar", "paper"):
        click.echo("\n".join(table(name)) + "\n")


if __name__ == "__main__":
    main()
