"""What a preset would cost on a device that is not here: hours and memory from counts, by assumption, not measured.

    FLOPs = 2 x MACs of one image x (images seen + 3 x images trained on); backward counts twice forward
    hours = FLOPs / (peak x utilisation) / 3600
    bytes = 4 x (parameters x copies + batch x values that layers give) + bytes of the stored images

Copies are the weight, its gradient and what the optimizer keeps. Stages that train nothing, loading and compiling
are left out. Peaks are the makers' dense figures; the CPU's is 8 cores x 3 GHz x 32 operations (AVX2, two FMA).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
import yaml

from deepcompress import dependencies, params, plan, preset
from deepcompress.distillation.settings import Distill, Teachers, require_teachers
from deepcompress.errors import Command
from deepcompress.measure.cost import layer_macs, parameters
from deepcompress.models.spec import Model, asked
from deepcompress.models.vgg import VGG

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
STAGES = {  # what the table shows together; others by the first part of their names
    **dict.fromkeys(("prune_control", "prune_sweep", "prune"), "prune, prune_sweep, prune_control"),
    **dict.fromkeys(("quantize_sweep", "quantize"), "quantize, quantize_sweep"),
    **dict.fromkeys(("distill_alone", "distill_mixture", "distill_selected", "distill_baseline"), "distill"),
}


@dataclass(frozen=True)
class Training:
    """One training of the pipeline."""

    stage: str  # its name in the table
    flops: float  # of all its steps
    size_bytes: float  # memory that it needs at once


@dataclass(frozen=True)
class Network:
    """What a network counts."""

    macs: int  # for one image
    values: int  # that its layers give for one image
    widest: int  # the most of one layer
    parameters: int


def counted(section: Model, classes: int) -> Network:
    """Counts of a network, from one pass of one image."""
    model, values = VGG(asked(section, classes)).eval(), []
    for layer in model.modules():
        if not list(layer.children()):
            layer.register_forward_hook(lambda _, inputs, output: values.append(output.numel()))
    macs = sum(layer_macs(model).values())
    return Network(macs, sum(values), max(values), parameters(model)["total"])


def training(
    stage: str, network: Network, recipe: Mapping[str, Any], images: int, validation: int, extra: float = 0
) -> Training:
    """Cost of one training by a recipe of params.yaml; `extra` are FLOPs of a teacher."""
    epochs = recipe["epochs"]
    if recipe["trainable"] == "head":
        seen, trained, copies = (images + validation) * (1 if _unchanged(recipe) else epochs), 0, 1
        values = 2 * network.widest
    else:
        seen, trained = validation * epochs, epochs * images
        copies, values = 2 + STATES[recipe["optimizer"]], network.values
    size = 4 * (network.parameters * copies + recipe["batch_size"] * values)
    return Training(stage, 2.0 * network.macs * (seen + 3 * trained) + extra, size)


def _unchanged(recipe: Mapping[str, Any]) -> bool:
    """Whether images come alike in every epoch, so that what is frozen answers once."""
    return not any((recipe.get("augment") or {}).values())


def trainings(document: dict[str, Any]) -> Iterator[Training]:
    """Every training that params call for; pruned networks count as dense ones, which is the most they cost.

    A teacher answers once, or in each epoch if images change.
    """
    distill = params.validate(Distill, document["distill"], "distill")
    require_teachers(distill, params.validate(Teachers, document["teachers"], "teachers"))
    source = document["data"]["source"]
    validation = round(IMAGES[source] * document["data"]["validation_fraction"])
    images, networks = IMAGES[source] - validation, {}
    for key, block in dependencies.networks(document).items():
        shape = {name: block[name] for name in Model.model_fields if name in block}
        networks[key] = counted(params.validate(Model, shape, key), CLASSES[source])
    answers = {f"teachers/{name}": 2.0 * networks[f"teachers.{name}"].macs * images for name in document["teachers"]}
    models, student = plan.table(document), document["distill"]["student"]["recipe"]
    for row in models:
        if row.recipe is not None:
            recipe, extra = params.at(document, row.recipe), 0.0
            if row.family == "students" and not _unchanged(student):
                extra = answers.get(str(row.teacher), 0.0) * student["epochs"]
            elif row.step == "distill" and row.family == "combined":
                recipe = recipe | {"trainable": "all"}
            name = str(row.stage).partition("@")[0]
            network = networks[dependencies.network_of(models, row.id)]
            yield training(STAGES.get(name, name), network, recipe, images, validation, extra)
    if _unchanged(student):
        yield Training("distill", sum(answers[f"teachers/{name}"] for name in distill.teachers), 0)


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
