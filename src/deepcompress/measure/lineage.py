"""What a model was made from: the baseline, a pruned model or a teacher, as its id and params.yaml say.

Free of torch and of tables, so that whatever shows a model can ask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

BASELINE = "baseline"
TEACHERS = "teachers"
SHIPPED = {"shipped/quantized": "shipped/pruned"}


@dataclass(frozen=True)
class Lineage:
    """Where the models of one plan come from.

    Attributes:
        models: Ids of the plan.
        params: params.yaml as plain values; a section that it lacks says nothing.
    """

    models: Collection[str]
    params: Mapping[str, Any]

    def steps(self, model: str) -> list[str]:
        """The steps of a combined model, in order; none of any other."""
        family, _, name = model.partition("/")
        return list(self.params.get("combine", {}).get("models", {}).get(name, [])) if family == "combined" else []

    def teacher(self, model: str) -> str | None:
        """Id of whom a model learned from: as its own id says, or as params say of combined ones; None: of nobody."""
        family, _, name = model.partition("/")
        if "distill" in self.steps(model):
            return str(self.params["combine"]["teacher"])
        named = f"{TEACHERS}/{name.rpartition('-')[2]}"
        return named if family == "students" and named in self.models else None

    def foundations(self, model: str) -> list[str]:
        """Ids of the models that one directly builds on; a teacher comes last."""
        family = model.partition("/")[0]
        if family in (BASELINE, TEACHERS):
            return []
        if model in SHIPPED:
            return [SHIPPED[model]]
        teacher = self.teacher(model)
        fresh = family == "students" or self.steps(model)[:1] == ["distill"]  # a network of its own, from the start
        below = [] if fresh else [BASELINE]
        return list(dict.fromkeys([*below, *([teacher] if teacher else [])]))

    def below(self, model: str) -> list[str]:
        """A model of the plan and all others of it that it builds on at any distance, each once."""
        found: list[str] = []
        waiting = [model]
        while waiting:
            one = waiting.pop()
            if one in self.models and one not in found:
                found.append(one)
                waiting += self.foundations(one)
        return found
