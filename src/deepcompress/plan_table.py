"""The plan as a table: every model that the pipeline makes, each one step from another.

`plan` writes it (results/plan.csv) from params.yaml; every other stage that looks at many models reads it and joins its
columns, so that nobody takes an id apart. Free of torch and pandas.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from deepcompress import files
from deepcompress.errors import UserError

BASELINE = "baseline"
SUFFIX = ".safetensors"
FAMILIES = ("baseline", "masked", "pruned", "quantized", "shipped", "teachers", "students", "combined")
STEPS = ("finetune", "prune", "quantize", "train_teacher", "distill")
REFERENCES = ("teacher", "control", "builds_on")
CHOICES = ("method", "teacher", "format")
TRAINING = "training_tera_macs"  # column of metrics/evaluation.csv: of a model's own training


@dataclass(frozen=True)
class PlannedModel:
    """A row of the plan. None stands where a column has nothing to say."""

    id: str  # path of the model under models/, without suffix
    family: str  # one of FAMILIES: the part of the tables that the model is in
    step: str  # one of STEPS: what its stage does
    method: str | None = None  # of that step: unstructured or structured, ptq or qat, name of a loss or of a control
    sparsity: float | None = None  # share of the weights in scope that pruning took away, here or before
    format: str | None = None  # of the weights in the file, such as `int4`; None: 32-bit floats
    teacher: str | None = None  # id of the model that it, or one that it builds on, learned from
    control: str | None = None  # id of the model that was trained as long, without what this one is about
    builds_on: str | None = None  # id of the model that its step starts from; None: random or downloaded weights
    recipe: str | None = None  # key in params.yaml of its training; None: its step trains nothing
    stage: str | None = None  # address in dvc.yaml, such as `prune_sweep@structured-0.5`

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ValueError(f"{self.id}: family must be one of {', '.join(FAMILIES)}; got {self.family!r}")
        if self.step not in STEPS:
            raise ValueError(f"{self.id}: step must be one of {', '.join(STEPS)}; got {self.step!r}")


COLUMNS = tuple(field.name for field in fields(PlannedModel))
JOINED = ("family", "step", "method", "sparsity", "format", "teacher", "control", "builds_on")  # to other tables


class Plan:
    """All models of a run, in the order in which tables show them; the baseline comes first."""

    def __init__(self, models: Iterable[PlannedModel]) -> None:
        """Take the rows, the baseline before all others; a ValueError if they do not fit together."""
        listed = sorted(models, key=lambda model: model.id != BASELINE)
        self._models = {model.id: model for model in listed}
        if BASELINE not in self._models:
            raise ValueError(f"a plan needs the model {BASELINE}")
        if len(self._models) < len(listed):
            raise ValueError("a plan names each model once")
        for model in listed:
            for column in REFERENCES:
                reference = getattr(model, column)
                if reference is not None and reference not in self._models:
                    raise ValueError(f"{model.id}: {column} {reference} is no model of the plan")

    def __iter__(self) -> Iterator[PlannedModel]:
        """The rows, in order."""
        return iter(self._models.values())

    def __getitem__(self, model: str) -> PlannedModel:
        """The row of an id; a KeyError if there is none."""
        return self._models[model]

    def __contains__(self, model: str) -> bool:
        """Whether an id is in the plan."""
        return model in self._models

    @property
    def ids(self) -> list[str]:
        """All ids, in order."""
        return list(self._models)

    def pairs(self) -> list[tuple[str, str]]:
        """(id, id of what it is compared with besides the baseline), in order, no two models twice.

        That is its control, a student's teacher, what its step starts from, and each model before it in its family
        that one choice sets apart: the method, the teacher or the format.
        """
        listed, before = list[tuple[str, str]](), list[PlannedModel]()
        for model in self:
            others = [self.control(model.id), model.teacher if model.family == "students" else None, model.builds_on]
            others += [other.id for other in before if _one_choice_apart(model, other)]
            listed += [(model.id, other) for other in dict.fromkeys(others) if other not in (None, BASELINE)]
            before.append(model)
        return [pair for pair in listed if pair[::-1] not in listed[: listed.index(pair)]]

    def control(self, model: str) -> str | None:
        """Its own control, or that of the nearest model that it builds on, which was trained as long as that one."""
        return next((row.control for row in reversed(self.chain(model)) if row.control), None)

    def chain(self, model: str) -> list[PlannedModel]:
        """The rows from the one that starts anew to that of `model`: each builds on the one before."""
        row = self[model]
        return [*(self.chain(row.builds_on) if row.builds_on else []), row]

    def below(self, model: str) -> list[str]:
        """A model and all that it builds on at any distance, teachers included, each once."""
        needed: dict[str, None] = {}
        waiting = [model]
        while waiting:
            row = self[waiting.pop(0)]
            if row.id not in needed:
                needed[row.id] = None
                waiting += [other for other in (row.builds_on, row.teacher) if other]
        return list(needed)

    def joined(self, rows: Iterable[dict[str, Any]], columns: Iterable[str] = JOINED) -> list[dict[str, Any]]:
        """Rows with a column `model`, each with columns of the plan behind its own."""
        names = list(columns)
        return [{**row, **{name: getattr(self[row["model"]], name) for name in names}} for row in rows]

    def paths(self, folder: str | Path) -> dict[str, Path]:
        """The file of each model under a folder; a UserError if one is missing, or of no model of the plan.

        Only folders of families count: others, and files beside them, are the user's.
        """
        paths = {model: Path(folder) / f"{model}{SUFFIX}" for model in self.ids}
        if missing := [path for path in paths.values() if not path.is_file()]:
            raise UserError(f"{_first(missing)}: no such file, but the plan names it; run the stage that makes it")
        there = {file for family in FAMILIES for file in Path(folder, family).rglob(f"*{SUFFIX}")}
        if orphans := sorted(there - set(paths.values())):
            raise UserError(f"{_first(orphans)}: no model of the plan; remove it, or `dvc repro plan`")
        return paths

    @classmethod
    def of_table(cls, rows: Iterable[Mapping[str, Any]]) -> Plan:
        """The plan by the columns that `joined` gave to rows of metrics/evaluation.csv, where no plan is at hand.

        `recipe` says no more than whether a model was trained. Rows of families that this file does not know are left
        out; a reference to a model that has no row is None.
        """
        known = {row["model"]: row for row in rows if row.get("family") in FAMILIES and row.get("step") in STEPS}
        known = {BASELINE: {"family": BASELINE, "step": STEPS[0]}} | known

        def cell(row: Mapping[str, Any], name: str) -> Any:
            value = row.get(name)
            missing = value in (None, "") or value != value or (name in REFERENCES and value not in known)  # NaN
            return None if missing else value

        return cls(
            PlannedModel(
                model,
                **{name: cell(row, name) for name in JOINED},
                recipe="trained" if (row.get(TRAINING) or 0.0) > 0 else None,
            )
            for model, row in known.items()
        )

    def write(self, path: str | Path) -> None:
        """Write a CSV with COLUMNS; empty where a row has nothing to say."""
        files.write_csv(path, [vars(model) for model in self], list(COLUMNS))

    @classmethod
    def read(cls, path: str | Path) -> Plan:
        """What `write` wrote; a UserError if the file is missing or damaged."""
        files.require_file(path)
        try:
            with Path(path).open(encoding="utf-8", newline="") as stream:
                return cls(_row(cells) for cells in csv.DictReader(stream, strict=True))
        except (ValueError, TypeError, csv.Error) as error:  # of a cell, a column, or bytes that are no UTF-8
            raise UserError(f"{path}: damaged plan ({error}); run `dvc repro plan`") from None


def _one_choice_apart(model: PlannedModel, other: PlannedModel) -> bool:
    """Whether at most one of CHOICES differs between two models of a family that come from the same start."""
    if (model.family, model.sparsity) != (other.family, other.sparsity) or model.family == "masked":
        return False
    return sum(getattr(model, name) != getattr(other, name) for name in CHOICES) <= 1


def _row(cells: dict[str, str]) -> PlannedModel:
    said: dict[str, Any] = {name: cell or None for name, cell in cells.items()}
    if said.get("sparsity"):
        said["sparsity"] = float(said["sparsity"])
    return PlannedModel(**said)


def _first(paths: list[Path]) -> str:
    return str(paths[0]) + (f" (and {len(paths) - 1} more)" if len(paths) > 1 else "")
