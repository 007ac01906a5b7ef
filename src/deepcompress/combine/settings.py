"""The `combine` section of params.yaml. Free of torch, so that plan can check it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field, model_validator

from deepcompress import params, registry
from deepcompress.distillation.network import require_name
from deepcompress.distillation.settings import Distill
from deepcompress.errors import UserError
from deepcompress.params import Section
from deepcompress.pruning.settings import Prune
from deepcompress.quantization.settings import Quant, task

STEPS = "combine.steps"
FIRST, LAST = "prune", "quantize"
SHIPPED = {("prune",): "shipped/pruned", ("prune", "quantize"): "shipped/quantized"}


class Combine(Section):
    """Models that several techniques make, one after the other; each step as its own section says.

    Attributes:
        method: Name in `distill.methods` or `distill.mixtures`, for the step distill.
        teacher: Id of the model that teaches in it, such as `baseline` or `teachers/vgg16`.
        models: The steps of each model, in order: files in combine/steps/.
    """

    method: str
    teacher: str = Field(pattern=r"^(baseline|teachers/[a-z0-9_]+)$")
    models: dict[str, tuple[str, ...]]

    @model_validator(mode="after")
    def _possible(self) -> Combine:
        known = registry.names(STEPS)
        for name, steps in self.models.items():
            require_name(name)
            for step in steps:
                if step not in known:
                    raise ValueError(f"models.{name} must be a list of {', '.join(known)}; got {step!r}")
            if not steps or len(set(steps)) < len(steps):
                raise ValueError(f"models.{name} must name one or more steps, each once; got {list(steps)}")
            if FIRST in steps[1:]:
                raise ValueError(f"models.{name}: {FIRST} must come first, because layers were tried on the baseline")
            if LAST in steps[:-1]:
                raise ValueError(f"models.{name}: {LAST} must come last, because training undoes it")
        return self

    def steps(self, name: str) -> tuple[str, ...]:
        """The steps of a model; a UserError lists the models there are."""
        if name not in self.models:
            raise UserError(f"params.yaml: combine.models has no {name!r}; it has {', '.join(self.models)}")
        return self.models[name]

    def model_ids(self) -> list[str]:
        """Ids of all combined models."""
        return [f"combined/{name}" for name in self.models]

    def model_pairs(self) -> list[tuple[str, str]]:
        """(id, id of the shipped model that went the same way without a teacher)."""
        untaught = {name: tuple(step for step in steps if step != "distill") for name, steps in self.models.items()}
        return [
            (f"combined/{name}", SHIPPED[steps])
            for name, steps in untaught.items()
            if steps in SHIPPED and steps != self.models[name]
        ]


def require_lesson(combine: Combine, distill: Distill, teachers: list[str]) -> None:
    """Refuse a method or a teacher that other sections do not have; models without a step distill need neither."""
    if not any("distill" in steps for steps in combine.models.values()):
        return
    methods = [*distill.methods, *distill.mixtures]
    if combine.method not in methods:
        raise UserError(f"params.yaml: combine.method must be one of {', '.join(methods)}; got {combine.method!r}")
    there = ["baseline", *(f"teachers/{name}" for name in teachers)]
    if combine.teacher not in there:
        raise UserError(f"params.yaml: combine.teacher must be one of {', '.join(there)}; got {combine.teacher!r}")


@dataclass(frozen=True)
class Sections:
    """All that params.yaml says of combined models: the section itself, and those of the techniques."""

    combine: Combine
    prune: Prune
    distill: Distill
    quant: Quant

    @classmethod
    def read(cls) -> Sections:
        """From params.yaml in the working folder; a UserError names the key that is wrong."""
        return cls(
            params.section(Combine, "combine"),
            params.section(Prune, "prune"),
            params.section(Distill, "distill"),
            params.section(Quant, "quant"),
        )

    def used(self, name: str) -> dict[str, Any]:
        """What decides how one model comes out, as plain values, and nothing else."""
        steps = self.combine.steps(name)
        found: dict[str, Any] = {"steps": list(steps)}
        if "prune" in steps:
            found["prune"] = self.prune.used()
        if "distill" in steps:
            lesson = self.distill.used(self.combine.method, taught=True)
            found["distill"] = {"teacher": self.combine.teacher, **lesson}
        if "quantize" in steps:
            found["quantize"] = task(self.quant).model_dump()
        return found
