"""What params.yaml calls for: every section checked before any work starts, and the ids of all models to come."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deepcompress import params
from deepcompress.combine.settings import Combine, require_lesson
from deepcompress.data.settings import Data
from deepcompress.deploy.benchmark_settings import Benchmark, require_planned
from deepcompress.deploy.settings import Deploy
from deepcompress.distillation.network import Teachers
from deepcompress.distillation.possible import require_layers
from deepcompress.distillation.settings import Distill, require_teachers
from deepcompress.errors import UserError
from deepcompress.explain.settings import Explain
from deepcompress.measure.settings import Evaluate
from deepcompress.models.spec import IMAGENET, Model
from deepcompress.params import Section
from deepcompress.pruning.settings import Prune, Sensitivity
from deepcompress.quantization.settings import CONTROL, Quant
from deepcompress.runtime import Train
from deepcompress.training.recipe import Recipe, require_head

SECTIONS: dict[str, type[Section]] = {
    "train": Train,
    "data": Data,
    "model": Model,
    "finetune": Recipe,
    "sensitivity": Sensitivity,
    "prune": Prune,
    "quant": Quant,
    "teachers": Teachers,
    "distill": Distill,
    "combine": Combine,
    "explain": Explain,
    "evaluate": Evaluate,
    "deploy": Deploy,
    "benchmark": Benchmark,
}

EXPORTS = "deploy"


def check(path: str | Path = params.PARAMS_FILE) -> None:
    """Check every section of the file against its schema.

    Raises:
        UserError: At the first key that is missing, unknown, mistyped or out of range.
    """
    document = params.read(path)
    for key in document:
        if key != "seed" and key not in SECTIONS:
            raise UserError(f"{path}: {key} is unknown; allowed: seed, {', '.join(SECTIONS)}")
    params.seed(path)
    for key, schema in SECTIONS.items():
        params.section(schema, key, path)
    distill, teachers = params.section(Distill, "distill", path), params.section(Teachers, "teachers", path)
    require_teachers(distill, teachers)
    require_layers(distill, teachers)
    require_lesson(params.section(Combine, "combine", path), distill, teachers.names())
    require_planned(params.section(Benchmark, "benchmark", path), model_ids(document))
    _require_heads(document, distill, teachers)
    _require_one_size(document)
    weights = params.section(Model, "model", path).weights
    if weights not in (None, IMAGENET) and not Path(weights).is_file():
        raise UserError(f"{path}: model.weights: {weights}: no such file; it must be null, imagenet or a file's path")


def _require_heads(document: dict[str, Any], distill: Distill, teachers: Teachers) -> None:
    """Every training of every network; see `require_head`."""
    sections = {"finetune": document["finetune"]} | {"prune.finetune": document["prune"]["finetune"]}
    for key, block in (sections | {"quant.qat": document["quant"]["qat"]}).items():
        require_head(key, document["model"]["arch"], params.validate(Recipe, block, key))
    require_head("distill.student.recipe", distill.student.arch, distill.student.recipe)
    for name, block in (teachers.model_extra or {}).items():
        require_head(f"teachers.{name}.recipe", block["arch"], params.validate(Recipe, block["recipe"], name))


def _require_one_size(document: dict[str, Any]) -> None:
    """Teachers, students and what becomes of the baseline are compared on the same pixels."""
    size = document["model"]["image_size"]
    blocks = {f"teachers.{name}": block for name, block in document["teachers"].items()}
    for key, block in {**blocks, "distill.student": document["distill"]["student"]}.items():
        if block["image_size"] != size:
            raise UserError(
                f"params.yaml: {key}.image_size must be that of the model, {size}, got {block['image_size']}; all "
                "models are compared on the same pixels"
            )


def model_ids(document: dict[str, Any]) -> list[str]:
    """Ids of all models that the pipeline makes, in the order in which tables show them.

    Args:
        document: The whole of params.yaml, already checked.

    Returns:
        Each id is the model's path under models/ without suffix.
    """
    sweep = document["prune"]["sweep"]
    swept = [f"{method}-{sparsity}" for method in sweep["methods"] for sparsity in sweep["sparsities"]]
    return [
        "baseline",
        *(f"masked/{cell}" for cell in swept),
        *(f"pruned/{cell}" for cell in swept),
        *(f"quantized/{cell}" for cell in document["quant"]["sweep"]),
        "shipped/pruned",
        "shipped/quantized",
        *(f"teachers/{name}" for name in document["teachers"]),
        *_distill(document).student_ids(),
        *_combine(document).model_ids(),
    ]


def model_pairs(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Models and what each is compared with besides the baseline: its teacher, the control that was trained as long.

    Args:
        document: The whole of params.yaml, already checked.

    Returns:
        (id, id of its reference).
    """
    sweep = document["prune"]["sweep"]
    pruned = [
        (f"pruned/{method}-{sparsity}", f"pruned/{method}-{control}")
        for method in sweep["methods"]
        for control in sweep["sparsities"]
        for sparsity in sweep["sparsities"]
        if control == 0 and sparsity != 0
    ]
    quantized = _quantized_pairs(document["quant"]["sweep"])
    return [*pruned, *quantized, *_distill(document).student_pairs(), *_combine(document).model_pairs()]


def _distill(document: dict[str, Any]) -> Distill:
    return params.validate(Distill, document["distill"], "distill")


def _combine(document: dict[str, Any]) -> Combine:
    return params.validate(Combine, document["combine"], "combine")


def _quantized_pairs(cells: list[str]) -> list[tuple[str, str]]:
    """What was trained beside its float twin, and beside the same format without training."""
    trained = [cell for cell in cells if cell.startswith("qat-") and cell != CONTROL]
    untrained = {cell: cell.replace("qat-", "ptq-", 1) for cell in trained}
    pairs = [(cell, CONTROL) for cell in trained if CONTROL in cells]
    pairs += [(cell, twin) for cell, twin in untrained.items() if twin in cells]
    return [(f"quantized/{one}", f"quantized/{other}") for one, other in pairs]


def remove_strays(folder: Path, ids: Iterable[str]) -> list[Path]:
    """Delete the files of `folder` that belong to no id (their path without suffix); returns what went.

    What lies in EXPORTS stays: `export` writes that folder whole, and its files are not named by ids.
    """
    wanted = set(ids)
    inside = [(file, file.relative_to(folder)) for file in sorted(folder.rglob("*")) if file.is_file()]
    strays = [
        file for file, name in inside if name.parts[0] != EXPORTS and name.with_suffix("").as_posix() not in wanted
    ]
    for file in strays:
        file.unlink()
    return strays
