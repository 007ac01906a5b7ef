"""The `distill` and `teachers` sections of params.yaml.

Free of torch at import; the block of a loss is checked by the loss's own file, which is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, Field, model_validator

from deepcompress import params
from deepcompress.errors import UserError
from deepcompress.models.spec import Model, asked
from deepcompress.params import PluginSection, Section
from deepcompress.training.recipe import Network, Recipe

LOSSES = "distillation.losses"
INDEPENDENT = "students/independent"  # the control that every student is compared with
PROBE_CLASSES = 2  # of the networks that are built to look for layers
NAME = re.compile(r"[a-z0-9_]+")


class Teachers(Section):
    """The `teachers` section: a network under each teacher's name."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    @model_validator(mode="after")
    def _networks(self) -> Teachers:
        for name, block in (self.model_extra or {}).items():
            require_name(name)
            params.validate(Network, block, f"teachers.{name}")
        return self

    def names(self) -> list[str]:
        """In the order of the file."""
        return list(self.model_extra or {})


def require_name(name: str) -> None:
    """Refuse a name that could not be part of a model's id `<method>-<teacher>` with a ValueError."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name; use small letters, digits and _")


class Methods(PluginSection):
    """`distill.methods`: a block per loss, checked by its file; each is tried with each teacher."""

    plugins: ClassVar[str] = LOSSES
    key: ClassVar[str] = "distill.methods"


class Mixture(Section):
    """Several losses at once, with the options that `distill.methods` gives them."""

    cross_entropy: float = Field(ge=0, allow_inf_nan=False)  # weight of the cross-entropy with the labels
    losses: dict[str, float] = Field(min_length=2)  # weight of each

    @model_validator(mode="after")
    def _known(self) -> Mixture:
        known = params.plugins(LOSSES)
        for name, weight in self.losses.items():
            if name not in known:
                raise ValueError(f"losses must be among {', '.join(known)}; got {name!r}")
            if not 0 < weight < float("inf"):
                raise ValueError(f"losses.{name} must be above 0, got {weight}")
        return self


class Control(Section):
    """A student without a teacher. label_smoothing: share of its labels that is spread over all classes.

    None: as of students with a teacher, so that the teacher is all that differs.
    """

    label_smoothing: float | None = Field(ge=0, lt=1)


class Selected(Section):
    """Further teachers, and the methods that learn from them."""

    methods: tuple[str, ...]
    teachers: tuple[str, ...]


class Distill(Section):
    """The `distill` section."""

    student: Network  # the network, its start and its training: the same for every method and control
    # Memory that a teacher's outputs for all training images may take [MiB]; see student.py.
    cache_budget_mib: int = Field(ge=0)
    methods: dict[str, dict[str, Any]]  # options of each loss; every one is tried with every teacher of `teachers`
    mixtures: dict[str, Mixture] = Field(default={})  # several losses at once, by name; tried like methods
    controls: dict[str, Control]  # students without a teacher, by name
    teachers: tuple[str, ...]  # names in the `teachers` section
    selected: Selected  # further teachers, and the methods that learn from them
    baseline: tuple[str, ...] = ()  # which methods and mixtures also learn from the baseline

    @model_validator(mode="after")
    def _consistent(self) -> Distill:
        params.validate(Methods, self.methods, "distill.methods")
        for name in (*self.methods, *self.mixtures, *self.controls):
            require_name(name)
        both = (*self.methods, *self.mixtures)
        for key, names, known in (
            ("selected.methods", self.selected.methods, self.methods),
            ("baseline", self.baseline, both),
        ):
            if unknown := [name for name in names if name not in known]:
                allowed = f"among {', '.join(known)}" if known else "[], for methods is empty"
                raise ValueError(f"{key} must be {allowed}; got {unknown[0]!r}")
        if twice := set(self.methods) & set(self.mixtures):
            raise ValueError(f"{min(twice)} is a method, so no mixture can have its name")
        return self

    def weighted(self, name: str) -> tuple[float, dict[str, tuple[float, Any]]]:
        """A method or mixture as (weight of the cross-entropy, {loss: (weight, its options)}).

        A UserError lists those that params.yaml has.
        """
        checked = Methods.model_validate(self.methods)
        if name in self.methods:
            options = checked.options(name)
            return options.cross_entropy, {name: (options.weight, options)}
        if name in self.mixtures:
            mixture = self.mixtures[name]
            losses = {loss: (weight, checked.options(loss)) for loss, weight in mixture.losses.items()}
            return mixture.cross_entropy, losses
        there = ", ".join([*self.methods, *self.mixtures])
        raise UserError(f"params.yaml: distill.methods has no {name!r}; it has {there}")

    def label_smoothing(self, name: str) -> float:
        """Of a control, by its name; a UserError lists those there are."""
        if name not in self.controls:
            raise UserError(f"params.yaml: distill.controls has no {name!r}; it has {', '.join(self.controls)}")
        own = self.controls[name].label_smoothing
        return self.student.recipe.label_smoothing if own is None else own

    def provenance_params(self, name: str, *, taught: bool) -> dict[str, Any]:
        """All that params.yaml says of one student, as plain values, and nothing else."""
        shared = {"student": self.student.model_dump(mode="json")}
        if not taught:
            return {**shared, "control": {name: {"label_smoothing": self.label_smoothing(name)}}}
        cross_entropy, losses = self.weighted(name)
        return {
            **shared,
            "cross_entropy": cross_entropy,
            "losses": {loss: options.model_dump() | {"weight": weight} for loss, (weight, options) in losses.items()},
        }

    def for_pruned(self, recipe: Recipe, image_size: int) -> Distill:
        """The section for a pruned model that learns on as long as one without a teacher does.

        All its layers learn, because what a teacher says of features reaches no frozen ones.
        """
        trained = {"recipe": recipe.model_copy(update={"trainable": "all"}), "image_size": image_size}
        return self.model_copy(update={"student": self.student.model_copy(update=trained)})

    def require_labels(self, methods: Iterable[str], key: str) -> None:
        """Refuse methods and mixtures whose first stage takes all epochs of the student: it would never see a label.

        The key is that of its recipe in params.yaml.
        """
        epochs = self.student.recipe.epochs
        for method in methods:
            for loss, (_, options) in self.weighted(method)[1].items():
                alone = options.first_stage_epochs if getattr(options, "stages", 1) == 2 else 0
                if alone >= epochs:
                    raise UserError(
                        f"params.yaml: distill.methods.{loss}.first_stage_epochs must be below {key}.epochs, {epochs}, "
                        f"got {alone}; the student would never see a label"
                    )

    def taught(self) -> list[tuple[str, str]]:
        """(method or mixture, teacher): every student that has a teacher of the `teachers` section."""
        taught = [(method, teacher) for teacher in self.teachers for method in (*self.methods, *self.mixtures)]
        return taught + [(method, teacher) for teacher in self.selected.teachers for method in self.selected.methods]


def require_teachers(distill: Distill, teachers: Teachers) -> None:
    """Refuse names of teachers that the `teachers` section does not have."""
    if "baseline" in teachers.names():
        raise UserError("params.yaml: teachers.baseline: that name is the baseline's own; choose another")
    for key, names in (("teachers", distill.teachers), ("selected.teachers", distill.selected.teachers)):
        for name in names:
            if name not in teachers.names():
                allowed = f"among {', '.join(teachers.names())}" if teachers.names() else "[], for teachers is empty"
                raise UserError(f"params.yaml: distill.{key} must be {allowed}; got {name!r}")


def require_lesson(key: str, link: dict[str, Any], distill: Distill, teachers: Teachers, path: str | Path) -> None:
    """Refuse a link of `combine.distill` that names another method or teacher than there are, or another key."""
    allowed = {
        "from": None,
        "method": [*distill.methods, *distill.mixtures],
        "teacher": ["baseline", *(f"teachers/{name}" for name in teachers.names())],
    }
    for name in link:
        if name not in allowed:
            raise UserError(f"{path}: {key}.{name} is unknown; allowed: {', '.join(allowed)}")
    for name, known in allowed.items():
        if known is not None and link.get(name) not in known:
            raise UserError(f"{path}: {key}.{name} must be one of {', '.join(known)}; got {link.get(name)!r}")


def require_layers(distill: Distill, teachers: Teachers, model: Model, lessons: Iterable[tuple[str, str, str]]) -> None:
    """Refuse a loss that cannot be made for a student and its teacher, as it names a layer they do not have.

    Networks are built without memory, which is quick. The UserError names the method, the student and the teacher.

    Args:
        distill: Has the methods and mixtures.
        teachers: Have their networks.
        model: The baseline's network.
        lessons: (method or mixture, key of the student's network, key of the teacher's), as in `dependencies.networks`.
    """
    blocks = {f"teachers.{name}": block for name, block in (teachers.model_extra or {}).items()}
    networks: dict[str, Model] = {key: params.validate(Network, block, key) for key, block in blocks.items()}
    networks |= {"model": model, "distill.student": distill.student}
    for method, *keys in lessons:
        import torch

        from deepcompress.distillation.loss import Loss, LossContext, shape
        from deepcompress.models.build import outline

        student, taught = (outline(asked(networks[key], PROBE_CLASSES)) for key in keys)
        labels = torch.arange(PROBE_CLASSES)
        for loss, (_, options) in distill.weighted(method)[1].items():
            try:
                made = params.plugin(LOSSES, loss).build(options, LossContext(student, taught, labels))
                if not isinstance(made, Loss):
                    raise UserError(f"build must give a Loss, got {type(made).__name__}")
                for network, taps in ((student, made.student_taps), (taught, made.teacher_taps)):
                    for tap in taps:
                        shape(network, tap.layer)
            except Exception as error:  # whatever the loss raises
                learns, teaches = (networks[key].arch for key in keys)
                teacher = "baseline" if keys[1] == "model" else keys[1].removeprefix("teachers.")
                said = str(error).removeprefix("params.yaml: ")
                reason = said if isinstance(error, UserError) else f"{type(error).__name__}: {said}"
                raise UserError(
                    f"params.yaml: distill.methods.{loss} with the student {learns} and the teacher {teacher} "
                    f"({teaches}): {reason}"
                ) from error
