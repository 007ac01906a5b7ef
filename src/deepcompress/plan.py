"""What params.yaml calls for: every section checked before any work starts, and the ids of all models to come."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from deepcompress import dependencies, params
from deepcompress.data.store import DataConfig
from deepcompress.deploy.settings import Benchmark, Deploy, require_planned
from deepcompress.distillation.settings import (
    INDEPENDENT,
    Distill,
    Teachers,
    require_layers,
    require_lesson,
    require_name,
    require_teachers,
)
from deepcompress.errors import UserError, named, said_after
from deepcompress.measure.settings import Evaluate, Explain
from deepcompress.models.spec import IMAGENET, TORCHVISION, GraphSpec, Model, asked, deepest_blocks, has_layer, library
from deepcompress.params import Section
from deepcompress.plan_table import BASELINE, FAMILIES, SUFFIX, Plan, PlannedModel
from deepcompress.pruning.settings import Prune, Sensitivity
from deepcompress.quantization.settings import CONTROL, Quant, split
from deepcompress.runtime import Train
from deepcompress.training.recipe import Recipe, SharedRecipe


class Combine(Section):
    """Links of chains: each makes the model combined/<name> from the model whose id stands under `from`.

    A link also takes any key of its step's section, in place of what that section says; `distill` needs a `teacher`
    (baseline or teachers/<name>) and a `method` (of distill.methods or distill.mixtures).
    """

    prune: dict[str, dict[str, Any]] = Field(default={})
    distill: dict[str, dict[str, Any]] = Field(default={})
    quantize: dict[str, dict[str, Any]] = Field(default={})

    @model_validator(mode="after")
    def _named(self) -> Combine:
        names = [name for _, links in self for name in links]
        for name in names:
            require_name(name)
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]} stands in two blocks; each model needs a name of its own")
        return self

    def links(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Name -> (step, what params.yaml says of it)."""
        return {name: (step, link) for step, links in self for name, link in links.items()}


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

WRITTEN = (SUFFIX, ".csv")  # what stages write by a model's id: the model, and tables beside it
PROBE_CLASSES = 2
PROBE_IMAGES = 4
SHOWN = 2  # layers in a line
WORTH_SAYING = 0.01  # share of a network's weights that no step compresses
TRAININGS = {"model": ("finetune", "prune.finetune", "quant.qat")}
EXPORTED = ("model", "distill.student")  # networks that are shipped, as what becomes of them
PRUNE_CONTROL = "pruned/control"  # the baseline, trained on as long as pruned models are


def check(path: str | Path = params.PARAMS_FILE) -> list[str]:
    """Check every section of the file against its schema; a UserError names the first key that is wrong.

    Returns:
        What steps leave out where they run all the same, a line each; see `require_networks`.
    """
    from deepcompress.report import text  # which needs pandas

    document = params.read(path)
    for key in document:
        if key != "seed" and key not in SECTIONS:
            raise UserError(f"{path}: {key} is unknown; allowed: seed, {', '.join(SECTIONS)}")
    params.seed(path)
    sections: dict[str, Any] = {key: params.section(schema, key, path) for key, schema in SECTIONS.items()}
    sections["prune"].require_sweep()
    distill, teachers = sections["distill"], sections["teachers"]
    require_teachers(distill, teachers)
    _require_one_size(document)
    dependencies.named(document)
    _check_links(sections["combine"], distill, teachers, path)
    notes = require_networks(document)
    models = table(document)
    require_layers(distill, teachers, sections["model"], _lessons(models))
    distill.require_labels([*(method for method, _ in distill.taught()), *distill.baseline], "distill.student.recipe")
    linked = [link["method"] for link in sections["combine"].distill.values()]
    learning_on = distill.for_pruned(sections["prune"].finetune, sections["model"].image_size)
    learning_on.require_labels(linked, "prune.finetune")
    _require_dense(sections["prune"], sections["model"])
    require_planned(sections["benchmark"], models.ids)
    text.builders()  # refuses a file of the report that is not as it must be
    return notes


def _check_links(combine: Combine, distill: Distill, teachers: Teachers, path: str | Path) -> None:
    """Refuse what a link says wrong of its step; `table` refuses what it says wrong of where it starts."""
    for name, (step, link) in combine.links().items():
        key = f"combine.{step}.{name}"
        if not isinstance(link.get("from"), str):
            raise UserError(f"{path}: {key}.from must be the id of a model, got {params.shown(link.get('from'))}")
        if step == "prune":
            prune = params.section(Prune, "prune", path, link=key)
            if prune.method_config(prune.method).allocation == "by_sensitivity":
                raise UserError(
                    f"{path}: {key}: allocation by_sensitivity was measured on the baseline alone; say for example "
                    f"{prune.method}: {{allocation: lamp}}"
                )
        elif step == "quantize":
            params.section(Quant, "quant", path, link=key)
        else:
            require_lesson(key, link, distill, teachers, path)


def _lessons(models: Plan) -> list[tuple[str, str, str]]:
    """(method or mixture, key of the student's network, key of the teacher's), each once."""

    def network(model: str | None) -> str:
        return dependencies.network_of(models, str(model))

    taught = [row for row in models if row.step == "distill" and row.teacher]
    return list(dict.fromkeys((str(row.method), network(row.id), network(row.teacher)) for row in taught))


def _require_one_size(document: dict[str, Any]) -> None:
    """Teachers, students and what becomes of the baseline are compared on the same pixels."""
    size = document["model"]["image_size"]
    for key, block in dependencies.networks(document).items():
        if block["image_size"] != size:
            raise UserError(
                f"params.yaml: {key}.image_size must be that of the model, {size}, got {block['image_size']}; all "
                "models are compared on the same pixels"
            )


def require_networks(document: Mapping[str, Any]) -> list[str]:
    """Refuse a network that no step can use, and a step that its network does not allow: it is run once to see.

    VGGs and torchvision's networks are left out: tests say what these allow, see docs/models.md. Files of weights are
    tried on any network, so that one that is damaged or does not fit stops the run here. Each section was checked
    before.

    Returns:
        What steps leave out where they run all the same, a line each.

    Raises:
        UserError: Naming the key of the network or of the step, and the layer in the way; or a file of weights.
    """
    blocks = dependencies.networks(document).items()
    for key, block in blocks:
        _require_weights(key, block)
    specs = {
        key: GraphSpec(block["arch"], PROBE_CLASSES, block["image_size"])
        for key, block in blocks
        if library(block["arch"]) in ("timm", "own")
    }
    notes = []
    for key, block in blocks:
        arch, spec = block["arch"], specs.get(key)
        if spec:
            _require_answers(key, spec)
            notes += _left_alone(key, spec)
        for recipe in TRAININGS.get(key, (f"{key}.recipe",)):
            if params.at(document, recipe)["trainable"] == "head" and (reason := _headless(key, arch, spec)):
                raise UserError(f"params.yaml: {recipe}.trainable: {arch} {reason}; it must be all")
        if spec and (absent := [role for role in deepest_blocks(spec.image_size) if not has_layer(spec, role)]):
            notes.append(f"{key}: {spec.arch} has no maps of {' and '.join(absent)}, so none of its attention is shown")
    for step, key, prune in _structured(document):
        if key in specs:
            notes += _require_channels(step, specs[key], prune)
    return list(dict.fromkeys(notes))


def _require_weights(key: str, block: Mapping[str, Any]) -> None:
    """Refuse a file of weights that the network cannot start from; those of libraries are downloaded in training."""
    weights = block.get("weights")
    if weights in (None, IMAGENET):
        return
    from deepcompress.models.build import blank
    from deepcompress.models.weights import load_pretrained_

    shape = params.validate(Model, {name: block[name] for name in Model.model_fields if name in block}, key)
    with said_after(f"params.yaml: {key}.arch: "):
        network = blank(asked(shape, PROBE_CLASSES))
    load_pretrained_(network, weights, key)


def _require_answers(key: str, spec: GraphSpec) -> None:
    """Refuse a network that gives probabilities, or is shipped and cannot become an ONNX file.

    Losses and exported files take the softmax of what a network gives. What cannot be exported would show at the very
    end.
    """
    import torch

    from deepcompress.deploy.onnx import require_exportable
    from deepcompress.models.build import build

    with said_after(f"params.yaml: {key}.arch: "):
        network = build(spec).eval()
    with torch.no_grad():
        answers = network(torch.randn(PROBE_IMAGES, 3, spec.image_size, spec.image_size))
    if (answers >= 0).all() and torch.allclose(answers.sum(1), torch.ones(PROBE_IMAGES), atol=1e-3):
        raise UserError(
            f"params.yaml: {key}.arch: {spec.arch} gives probabilities; it must give what its softmax takes"
        )
    if key in EXPORTED:
        with said_after(f"params.yaml: {key}.arch: {spec.arch}: "):
            require_exportable(network)


def _left_alone(key: str, spec: GraphSpec) -> list[str]:
    """A line on the weights that no step can compress, such as those of nn.MultiheadAttention, where they are many."""
    from deepcompress.models.build import outline, trace

    compressed = {f"{layer}.weight" for layer in trace(spec).order}
    sizes = {name: tensor.numel() for name, tensor in outline(spec).named_parameters() if tensor.dim() > 1}
    others = [name for name in sizes if name not in compressed]
    share = sum(sizes[name] for name in others) / sum(sizes.values())
    if share < WORTH_SAYING:
        return []
    return [
        f"{key}: {100 * share:.0f} % of the weights of {spec.arch} belong to no convolution or linear layer that runs, "
        f"so they are neither pruned nor quantized: {named(others)}"
    ]


def _headless(key: str, arch: str, spec: GraphSpec | None) -> str | None:
    """Why a network has no head that could be trained on what the other layers give; None: it has one."""
    if spec is None:
        return "ends in no linear layer" if arch in TORCHVISION["squeezenet"] else None
    from deepcompress.models.build import outline, trace

    with said_after(f"params.yaml: {key}.arch: "):
        last = trace(spec).order[-1]
        if not hasattr(outline(spec).get_submodule(last), "in_features"):
            return "ends in no linear layer"
    return None if trace(spec).head_answers else f"answers with more than its last linear layer {last} gives"


def _require_dense(prune: Prune, model: Model) -> None:
    """Refuse names of layers that are to stay whole where the baseline has no such layer in scope."""
    for method in sorted({prune.method, *prune.sweep.methods}):
        way = prune.method_config(method)
        if way.dense:
            from deepcompress.models.build import outline
            from deepcompress.pruning.layers import in_scope, require_named

            layers = in_scope(outline(asked(model, PROBE_CLASSES)), method, way.scope)
            require_named(way.dense, layers, f"prune.{method}.dense")


def _structured(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Prune]]:
    """(key, key of the network, settings) of every step that removes channels; of the sweep the highest sparsity's."""
    prune = params.validate(Prune, document["prune"], "prune")
    if prune.method == "structured":
        yield "prune.method", "model", prune
    if "structured" in prune.sweep.methods:
        yield "prune.sweep.methods", "model", prune.override(method="structured", sparsity=max(prune.sweep.sparsities))
    for name, link in document["combine"].get("prune", {}).items():
        own = params.validate(Prune, params.linked(document["prune"], link), "prune")
        if own.method == "structured":
            network = dependencies.network_of(table(dict(document)), str(link["from"]))
            yield f"combine.prune.{name}", network, own


def _require_channels(step: str, spec: GraphSpec, prune: Prune) -> list[str]:
    from deepcompress.models.build import outline
    from deepcompress.pruning.allocation import Problem, require_reachable
    from deepcompress.pruning.layers import groups, unprunable
    from deepcompress.pruning.prune import subjects

    network, found, whole = outline(spec), groups(spec), unprunable(spec)
    listed = "; ".join(f"{name}: {reason}" for name, reason in [*whole.items()][:SHOWN])
    reasons = listed or "its outputs are the classes"
    if not found:
        raise UserError(
            f"params.yaml: {step}: structured cannot take channels from any layer of {spec.arch} ({reasons}); "
            "unstructured can prune it"
        )
    if prune.structured.scope == "conv" and all(hasattr(network.get_submodule(name), "in_features") for name in found):
        raise UserError(
            f"params.yaml: {step}: of {spec.arch} only linear layers can lose units, such as {next(iter(found))}; set "
            "prune.structured.scope to all, or use unstructured"
        )
    require_reachable(Problem(subjects(network, prune), prune.sparsity))
    return [f"structured pruning leaves {len(whole)} layers of {spec.arch} whole ({reasons}; ...)"] if whole else []


def table(document: dict[str, Any]) -> Plan:
    """All models that the pipeline makes, in the order in which tables show them, and what each is made from.

    Of the whole of params.yaml, already checked but for where links of chains start: a UserError says what is wrong
    there.
    """
    rows = [
        PlannedModel(BASELINE, "baseline", "finetune", recipe="finetune", stage="finetune"),
        *_pruned(document["prune"]),
        *_quantized(params.validate(Quant, document["quant"], "quant"), document),
        *map(_teacher, document["teachers"]),
        *_students(params.validate(Distill, document["distill"], "distill")),
    ]
    return Plan([*rows, *_combined(document, rows)])


def _pruned(prune: dict[str, Any]) -> Iterator[PlannedModel]:
    """Each method at each sparsity before fine-tuning and after it, and the control that was trained as long."""
    sweep = [
        (f"{method}-{sparsity}", method, sparsity, f"prune_sweep@{method}-{sparsity}")
        for method in prune["sweep"]["methods"]
        for sparsity in prune["sweep"]["sparsities"]
    ]
    for name, method, sparsity, stage in [*sweep, ("shipped", prune["method"], prune["sparsity"], "prune")]:
        columns = {"builds_on": BASELINE, "stage": stage}
        yield PlannedModel(f"masked/{name}", "masked", "prune", method, float(sparsity), **columns)
    control: dict[str, Any] = {"sparsity": 0.0, "recipe": "prune.finetune", "stage": "prune_control"}
    yield PlannedModel(PRUNE_CONTROL, "pruned", "finetune", builds_on=BASELINE, **control)
    for name, method, sparsity, stage in sweep:
        yield _fine_tuned(f"pruned/{name}", f"masked/{name}", method, sparsity, stage)


def _fine_tuned(model: str, masked: str, method: str, sparsity: float, stage: str) -> PlannedModel:
    columns = {"control": PRUNE_CONTROL, "builds_on": masked, "recipe": "prune.finetune", "stage": stage}
    return PlannedModel(model, model.partition("/")[0], "prune", method, float(sparsity), **columns)


def _quantized(quant: Quant, document: dict[str, Any]) -> Iterator[PlannedModel]:
    """Each variant of the baseline, or of one of its own, and the user's own configuration: pruned, then quantized."""
    for name in quant.baselines:
        key, stage = f"quant.baselines.{name}", f"quantize_baseline@{name}"
        yield PlannedModel(f"quantized/{name}", "quantized", "finetune", recipe=key, stage=stage)
    for variant in quant.sweep:
        yield _in_format(f"quantized/{variant}", variant, builds_on=quant.source, stage=f"quantize_sweep@{variant}")
    method, sparsity = document["prune"]["method"], document["prune"]["sparsity"]
    yield _fine_tuned("shipped/pruned", "masked/shipped", method, sparsity, "prune")
    own = {"builds_on": "shipped/pruned", "sparsity": float(sparsity), "stage": "quantize"}
    yield _in_format("shipped/quantized", quant.shipped, **own)


def _in_format(model: str, variant: str, **columns: Any) -> PlannedModel:
    """A row of a model in the format of a variant such as `qat-int4`.

    In the sweep the control of `qat` is `qat-fp32`; where it starts from a baseline of its own, that is all others'.
    """
    (mode, form), source, family = split(variant), columns["builds_on"], model.partition("/")[0]
    control = None
    if family == "quantized":
        own = None if source == BASELINE else source
        control = f"quantized/{CONTROL}" if mode == "qat" and variant != CONTROL else own
    columns |= {"format": None if form == "fp32" else form, "recipe": "quant.qat" if mode == "qat" else None}
    return PlannedModel(model, family, "quantize", mode, control=control, **columns)


def _teacher(name: str) -> PlannedModel:
    key = f"teachers.{name}.recipe"
    return PlannedModel(f"teachers/{name}", "teachers", "train_teacher", recipe=key, stage=f"train_teacher@{name}")


def _students(distill: Distill) -> Iterator[PlannedModel]:
    """The controls, and a student of each method and teacher."""
    independent = INDEPENDENT if INDEPENDENT.removeprefix("students/") in distill.controls else None
    for name in distill.controls:
        control = independent if f"students/{name}" != INDEPENDENT else None
        yield _student(name, name, control=control, stage=f"distill_alone@{name}")
    for method, teacher in distill.taught():
        further = teacher in distill.selected.teachers and teacher not in distill.teachers
        stage = "distill_selected" if further else "distill_mixture" if method in distill.mixtures else "distill"
        name = f"{method}-{teacher}"
        yield _student(name, method, teacher=f"teachers/{teacher}", control=independent, stage=f"{stage}@{name}")
    for method in distill.baseline:
        stage = f"distill_baseline@{method}"
        yield _student(f"{method}-{BASELINE}", method, teacher=BASELINE, control=independent, stage=stage)


def _student(name: str, method: str, **columns: Any) -> PlannedModel:
    return PlannedModel(f"students/{name}", "students", "distill", method, recipe="distill.student.recipe", **columns)


def _combined(document: dict[str, Any], rows: list[PlannedModel]) -> list[PlannedModel]:
    """A row per link of a chain, in the file's order; each starts from a row of the plan, or from another link."""
    links = params.validate(Combine, document["combine"], "combine").links()
    known, made = {row.id: row for row in rows}, dict[str, PlannedModel]()
    while waiting := [name for name in links if name not in made]:
        ready = [name for name in waiting if links[name][1].get("from") in known]
        if not ready:
            step, link = links[waiting[0]]
            raise UserError(
                f"params.yaml: combine.{step}.{waiting[0]}.from must be the id of a model that is made without it; "
                f"got {link.get('from')!r}; there are {params.listed(known, link.get('from'))}"
            )
        for name in ready:
            step, link = links[name]
            source = known[str(link["from"])]
            if source.format is not None:
                raise UserError(
                    f"params.yaml: combine.{step}.{name}.from: {source.id} is quantized already ({source.format}); "
                    "quantizing comes last"
                )
            has_zeros = source.family == "masked" and source.id != "masked/shipped"  # which is written smaller
            if step == "distill" and has_zeros and source.method == "structured":
                raise UserError(
                    f"params.yaml: combine.distill.{name}.from: {source.id} keeps the baseline's shape, with zeros; "
                    f"name {source.id.replace('masked/', 'pruned/')}, whose channels are gone"
                )
            made[name] = _link(name, step, link, source, document)
            if step == "prune":
                _require_unpruned(made[name], known)
            known[made[name].id] = made[name]
    return [_controlled(made[name], known) for name in links]


def _link(name: str, step: str, link: dict[str, Any], source: PlannedModel, document: dict[str, Any]) -> PlannedModel:
    """The row of a link, still without its control."""
    model = f"combined/{name}"
    columns: dict[str, Any] = {"builds_on": source.id, "stage": f"combine_{step}@{name}"}
    if step == "quantize":
        quant = params.validate(Quant, params.linked(document["quant"], link), f"combine.quantize.{name}")
        return _in_format(model, quant.shipped, sparsity=source.sparsity, teacher=source.teacher, **columns)
    columns["recipe"] = "prune.finetune"
    if step == "distill":
        teacher, method = str(link["teacher"]), str(link["method"])
        return PlannedModel(model, "combined", step, method, source.sparsity, teacher=teacher, **columns)
    prune = params.linked(document["prune"], link)
    return PlannedModel(
        model, "combined", step, prune["method"], float(prune["sparsity"]), teacher=source.teacher, **columns
    )


def _require_unpruned(row: PlannedModel, known: dict[str, PlannedModel]) -> None:
    """A second step of pruning may take single weights of a model that lost channels, and nothing else."""
    builds_on = row.builds_on
    while builds_on is not None:
        ancestor = known[builds_on]
        if ancestor.step == "prune" and not (row.method == "unstructured" and ancestor.method == "structured"):
            name = row.id.removeprefix("combined/")
            raise UserError(
                f"params.yaml: combine.prune.{name}.from: {row.builds_on} is pruned already ({ancestor.id}: "
                f"{ancestor.method}); of such models only single weights may go, and only where channels went before"
            )
        builds_on = ancestor.builds_on


def _controlled(row: PlannedModel, known: dict[str, PlannedModel]) -> PlannedModel:
    """With its control: the model that went the same way without a teacher, or was trained as long without pruning."""
    if row.builds_on is None or row.control is not None:
        return row
    if (row.builds_on, row.step) == (BASELINE, "prune"):
        return dataclasses.replace(row, control=PRUNE_CONTROL if PRUNE_CONTROL in known else None)
    source = row.builds_on
    if row.step == "distill":
        alike = [other for other in known.values() if other.builds_on == source and other.step == "prune"]
    else:
        untaught = _controlled(known[source], known).control
        way = (row.step, row.method, row.format)
        others = [other for other in known.values() if untaught is not None and other.builds_on == untaught]
        alike = [other for other in others if (other.step, other.method, other.format) == way]
    return dataclasses.replace(row, control=alike[0].id) if alike else row


def remove_strays(folder: Path, ids: Iterable[str], named: Iterable[Path] = ()) -> list[Path]:
    """Delete the files of `folder` that stages wrote for an id that is none any more; returns what went.

    What is the user's stays: files of other kinds than WRITTEN or in other folders than those of families, and those
    that params.yaml names.
    """
    wanted, kept = set(ids), {path.resolve() for path in named}
    strays = []
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        written = file.is_file() and name.suffix in WRITTEN and name.parts[0] in FAMILIES
        if written and name.with_suffix("").as_posix() not in wanted and file.resolve() not in kept:
            strays.append(file)
    for file in strays:
        file.unlink()
    return strays
