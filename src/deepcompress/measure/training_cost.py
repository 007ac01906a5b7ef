"""What models cost to make, as two more columns of metrics/evaluation.csv: training images seen times MACs.

The unit is 10^12 multiply-accumulates of a forward pass, exact to the last one. A training step of the whole network
takes about three times that, by the same factor for all, and is not multiplied in. Where only the head learns from
images that come unchanged in every epoch, the frozen rest runs once, so all epochs count as one pass. A search, a scan
and a rounding without training count as nothing. A teacher's answers count with a forward pass per image: one where
images come unchanged in every epoch, else one per epoch. Seconds are not here, for they differ from run to run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepcompress import files
from deepcompress.data.store import read_meta
from deepcompress.errors import UserError
from deepcompress.measure.lineage import BASELINE, Lineage

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    Row = dict[str, Any]

OWN, TOTAL = "training_tera_macs", "training_tera_macs_total"
TERA = 10**12
UNTRAINED = ("masked",)  # families that no history is written of: models on the way to others


@dataclass(frozen=True)
class Trainings:
    """How the models of one plan were trained.

    Attributes:
        lineage: What each was made from, and params.yaml.
        images: Training images, of which each epoch sees all.
        epochs: Of each model's own training; a model that is not named was not trained.
    """

    lineage: Lineage
    images: int
    epochs: Mapping[str, int]


def read(history: Path, models: Collection[str], document: Mapping[str, Any], data: Path) -> Trainings:
    """What decides how much the training of each model of a plan cost.

    Args:
        history: Folder of <model id>.csv, a row per epoch; none for UNTRAINED.
        models: Ids of the plan.
        document: params.yaml as plain values.
        data: A folder whose meta.json counts the training images.

    Raises:
        UserError: If a file is missing or damaged.
    """
    trained = [model for model in models if model.partition("/")[0] not in UNTRAINED]
    epochs = {model: _last(history / f"{model}.csv") for model in trained}
    return Trainings(Lineage(tuple(models), document), read_meta(data).counts["train"], epochs)


def joined(rows: list[Row], trained: Trainings) -> list[Row]:
    """The rows of the evaluation table, each with two columns behind its own [10^12 MACs].

    Args:
        rows: Of every model of the plan, each with its `macs` for one image.
        trained: How they were trained.

    Returns:
        `training_tera_macs`: training images seen by the model in its own training times its `macs`, and its teacher's
        answers to them; `training_tera_macs_total`: the same and that of all that it builds on, each once: the
        baseline, the pruned model, the teacher.
    """
    macs = {row["model"]: row["macs"] for row in rows}
    own = {model: _own(model, macs, trained) for model in macs}
    total = {model: sum(own[one] for one in trained.lineage.below(model)) for model in macs}
    return [{**row, OWN: own[row["model"]] / TERA, TOTAL: total[row["model"]] / TERA} for row in rows]


def _last(path: Path) -> int:
    try:
        return max((int(row["epoch"]) for row in files.read_rows(path)), default=0)
    except KeyError:
        raise UserError(f"{path}: lacks the column epoch; run the stage that makes it again") from None
    except (ValueError, OverflowError):
        raise UserError(f"{path}: the column epoch must hold whole numbers alone") from None


def _own(model: str, macs: Mapping[str, int], trained: Trainings) -> int:
    """MACs of a model's own training, and of its teacher's answers."""
    count, teacher = trained.epochs.get(model, 0), trained.lineage.teacher(model)
    spent = _passes(model, count, trained.lineage) * trained.images * macs[model]
    if count and teacher is not None and teacher in macs:
        spent += _answers(model, count, trained.lineage) * trained.images * macs[teacher]
    return spent


def _passes(model: str, count: int, lineage: Lineage) -> int:
    """How often the network sees each image: in every epoch, or once where what is frozen runs once.

    Students and their controls run whole in every epoch, whatever learns in them.
    """
    recipe = _recipe(model, lineage)
    whole = model.startswith("students/") or "distill" in lineage.steps(model)
    once = recipe.get("trainable") == "head" and _unchanged(recipe) and not whole
    return min(count, 1 + max(0, count - recipe.get("epochs", count))) if once else count


def _answers(model: str, count: int, lineage: Lineage) -> int:
    """How often a teacher sees each image; it does not take part in the steps after distilling."""
    recipe = _recipe(model, lineage)
    return 1 if _unchanged(recipe) else min(count, recipe.get("epochs", count))


def _unchanged(recipe: Mapping[str, Any]) -> bool:
    return not any((recipe.get("augment") or {}).values())


def _recipe(model: str, lineage: Lineage) -> Mapping[str, Any]:
    """How params say that a model trains (the first of several trainings); empty where they say nothing."""
    family, _, name = model.partition("/")
    steps = lineage.steps(model)
    if model == BASELINE:
        keys = ["finetune"]
    elif family == "teachers":
        keys = ["teachers", name, "recipe"]
    elif family == "pruned" or model == "shipped/pruned" or "prune" in steps:
        keys = ["prune", "finetune"]
    elif family == "students" or "distill" in steps:
        keys = ["distill", "student", "recipe"]
    else:
        keys = ["quant", "qat"]
    found: Mapping[str, Any] = lineage.params
    for key in keys:
        found = found.get(key) or {}
    return found
