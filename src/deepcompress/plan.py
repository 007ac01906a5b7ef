"""What params.yaml calls for: every section checked before any work starts, and the ids of all models to come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from deepcompress import params
from deepcompress.combine.settings import Combine, require_lesson
from deepcompress.data.store import DataConfig
from deepcompress.deploy.benchmark_settings import Benchmark, require_planned
from deepcompress.deploy.settings import Deploy
from deepcompress.distillation.network import Teachers
from deepcompress.distillation.possible import require_layers
from deepcompress.distillation.settings import INDEPENDENT, Distill, require_teachers
from deepcompress.errors import UserError
from deepcompress.explain.settings import Explain
from deepcompress.measure.settings import Evaluate
from deepcompress.models.spec import IMAGENET, Model
from deepcompress.params import Section
from deepcompress.plan_table import BASELINE, Plan, PlannedModel
from deepcompress.pruning.settings import Prune, Sensitivity
from deepcompress.quantization.settings import CONTROL, Quant, split
from deepcompress.runtime import Train
from deepcompress.training.recipe import Recipe, SharedRecipe, require_head

SECTIONS: dict[str, type[Section]] = {
    "train": Train,
    "data": DataConfig,
    "model": Model,
    "recipe": SharedRecipe,
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
    require_planned(params.section(Benchmark, "benchmark", path), table(document).ids)
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


def table(document: dict[str, Any]) -> Plan:
    """All models that the pipeline makes, in the order in which tables show them, and what each is made from.

    Args:
        document: The whole of params.yaml, already checked.
    """
    rows = [
        PlannedModel(BASELINE, "baseline", "finetune", recipe="finetune", stage="finetune"),
        *_pruned(document["prune"]["sweep"]),
        *_quantized(params.validate(Quant, document["quant"], "quant"), document),
        *(_teacher(name) for name in document["teachers"]),
        *_students(params.validate(Distill, document["distill"], "distill")),
    ]
    return Plan([*rows, *_combined(document, {row.id: row for row in rows})])


def _pruned(sweep: dict[str, Any]) -> Iterator[PlannedModel]:
    """Each method at each sparsity: before fine-tuning, and after it."""
    variants = [(method, sparsity) for method in sweep["methods"] for sparsity in sweep["sparsities"]]
    for family in ("masked", "pruned"):
        for method, sparsity in variants:
            name, untouched = f"{method}-{sparsity}", f"pruned/{method}-0"
            yield PlannedModel(
                f"{family}/{name}",
                family,
                "prune",
                method=method,
                sparsity=float(sparsity),
                control=untouched if family == "pruned" and sparsity and 0 in sweep["sparsities"] else None,
                builds_on=BASELINE,
                recipe="prune.finetune" if family == "pruned" else None,
                stage=f"prune_sweep@{name}",
            )


def _quantized(quant: Quant, document: dict[str, Any]) -> Iterator[PlannedModel]:
    """Each variant of the baseline, and the model of the user's own configuration: pruned, then quantized."""
    for variant in quant.sweep:
        trained = variant.startswith("qat-") and variant != CONTROL
        yield _in_format(
            f"quantized/{variant}",
            variant,
            builds_on=BASELINE,
            control=f"quantized/{CONTROL}" if trained else None,
            stage=f"quantize_sweep@{variant}",
        )
    method, sparsity = document["prune"]["method"], float(document["prune"]["sparsity"])
    pruned = {"method": method, "sparsity": sparsity, "builds_on": BASELINE, "recipe": "prune.finetune"}
    yield PlannedModel("shipped/pruned", "shipped", "prune", stage="prune", **pruned)
    own = {"builds_on": "shipped/pruned", "sparsity": sparsity, "stage": "quantize"}
    yield _in_format("shipped/quantized", quant.shipped, **own)


def _in_format(model: str, variant: str, **columns: Any) -> PlannedModel:
    """A row of a model in the format of a variant such as `qat-int4`."""
    mode, form = split(variant)
    recipe = "quant.qat" if mode == "qat" else None
    stored = None if form == "fp32" else form
    return PlannedModel(model, model.partition("/")[0], "quantize", mode, format=stored, recipe=recipe, **columns)


def _teacher(name: str) -> PlannedModel:
    key = f"teachers.{name}.recipe"
    return PlannedModel(f"teachers/{name}", "teachers", "train_teacher", recipe=key, stage=f"train_teacher@{name}")


def _students(distill: Distill) -> Iterator[PlannedModel]:
    """The controls, and a student of each method and teacher."""
    alone = INDEPENDENT.removeprefix("students/") in distill.controls
    for name in distill.controls:
        control = INDEPENDENT if alone and f"students/{name}" != INDEPENDENT else None
        yield _student(name, name, control=control, stage=f"distill_alone@{name}")
    control = INDEPENDENT if alone else None
    for method, teacher in distill.taught():
        colour = teacher in distill.colour.teachers and teacher not in distill.teachers
        stage = "distill_colour" if colour else "distill_mixture" if method in distill.mixtures else "distill"
        name = f"{method}-{teacher}"
        yield _student(name, method, teacher=f"teachers/{teacher}", control=control, stage=f"{stage}@{name}")


def _student(name: str, method: str, **columns: Any) -> PlannedModel:
    return PlannedModel(f"students/{name}", "students", "distill", method, recipe="distill.student.recipe", **columns)


def _combined(document: dict[str, Any], rows: dict[str, PlannedModel]) -> Iterator[PlannedModel]:
    combine = params.validate(Combine, document["combine"], "combine")
    controls = dict(combine.model_pairs())
    quant = rows["shipped/quantized"]
    for name, steps in combine.models.items():
        recipe = "prune.finetune" if "prune" in steps else "distill.student.recipe" if "distill" in steps else None
        yield PlannedModel(
            f"combined/{name}",
            "combined",
            steps[-1],
            quant.method if steps[-1] == "quantize" else combine.method,
            rows["shipped/pruned"].sparsity if "prune" in steps else None,
            quant.format if "quantize" in steps else None,
            combine.teacher if "distill" in steps else None,
            controls.get(f"combined/{name}"),
            None if steps[0] == "distill" else BASELINE,
            recipe or quant.recipe,
            f"combine@{name}",
        )


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
