"""The measured tables that the report is made of, read once and checked: no tensors, no models, no torch.

A model's id is the key of every table. What a model is, its family, method or teacher, stands in the columns of the
plan, which `evaluate` joins to its table. Columns and families that this file has never heard of pass through.

Every difference is judged here, once, by measure/verdict.py: where a training stands between two models, its interval
is that over seeds, or missing; its words follow Holm's correction within its family. Whatever reads an `Estimate`
afterwards can say no more than it carries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from deepcompress import files, params
from deepcompress.errors import UserError
from deepcompress.measure import verdict
from deepcompress.measure.verdict import Estimate, Replicates
from deepcompress.plan_table import BASELINE, Plan
from deepcompress.plan_table import JOINED as PLAN_COLUMNS

INTERMEDIATE = ("masked",)  # families of models that show what a step did, such as pruning before fine-tuning
TEACHERS = "teachers"
UNKNOWN = f"{verdict.UNTESTED}no plan knows its family"
BYTES_PER_MIB = 2**20
PAPER = Path(__file__).with_name("paper_results.yaml")
DIFFERENCES = ("difference_points", "difference_points_low", "difference_points_high", "mcnemar_p")
EVALUATION_COLUMNS = ("model", "family", "top1_pct", "top1_pct_low", "top1_pct_high", "n", "size_bytes")
OPTIONAL_COLUMNS = (
    "top5_pct", "cross_entropy_loss", "calibration_error_pct", *DIFFERENCES, "parameters", "nonzero_weights", "macs",
    "training_tera_macs", "training_tera_macs_total", *PLAN_COLUMNS,
)  # fmt: skip
PAIR_COLUMNS = ("model", "reference", "n", *DIFFERENCES, "agreement_pct")
CHOICE_COLUMNS = ("model", "validation_top1_pct", "n", "drop_points", "on_front")
# Read as they are, for a class may be called "7" or "null".
WORDS = ("model", "reference", "class", *(name for name in PLAN_COLUMNS if name != "sparsity"))
CLASS_COLUMNS = ("model", "class", "n", "top1_pct")
Differences = Mapping[tuple[Any, Any], Estimate]  # by model and reference [percent points]
HISTORY_COLUMNS = ("epoch", "train_loss", "learning_rate", "validation_top1_pct", "validation_loss")


@dataclass(frozen=True)
class Paths:
    """Where the tables lie; the README's block needs none of the optional ones, which are not in git."""

    evaluation: Path
    per_class: Path
    headline: Path
    params: Path = Path(params.PARAMS_FILE)
    history: Path | None = None
    meta: Path | None = None
    pairs: Path | None = None
    replicates: Path | None = None
    extra: tuple[Path, ...] = ()


@dataclass(frozen=True, eq=False)
class Tables:
    """All that the sections of the report may look at."""

    # A row per model id: `metrics/evaluation.csv` and name (the id without its family), size_mib, times_smaller,
    # compared_with (the control, or that of what it builds on), more_trainings (those that it has had more than
    # compared_with), and difference (to the baseline) and to_control, each an Estimate, or None; optional columns that
    # are missing hold NaN.
    models: pd.DataFrame
    per_class: pd.DataFrame  # accuracy of each model on each class
    headline: dict[str, Any]  # what `dvc metrics diff` compares
    history: pd.DataFrame  # a row per model and epoch, with family and name; empty when nothing was trained
    meta: dict[str, Any]  # what the training images are: classes, counts, source
    params: dict[str, Any]  # params.yaml as plain values
    paper: dict[str, Any]  # the source report's own figures
    # Of any two models that were compared on the same images, either way round.
    differences: Differences = field(default_factory=dict)
    replicates: Replicates = verdict.NONE  # of further seeds; none without `make seeds`
    # Every further CSV, by folder and path without suffix: `sensitivity/structured`; one that is given as a file, by
    # its name.
    extra: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)  # every further JSON, named alike

    @property
    def baseline(self) -> pd.Series:
        """The row that every other model is compared with."""
        return self.models[self.models["model"] == BASELINE].iloc[0]

    @property
    def candidates(self) -> pd.DataFrame:
        """The models that somebody might use: all but those that show a step on the way."""
        return self.models[~self.models["family"].isin(INTERMEDIATE)]

    @cached_property
    def plan(self) -> Plan:
        """What the models are made of."""
        return Plan.of_table(_records(self.models))

    def further(self, name: str, *columns: str) -> pd.DataFrame:
        """One of `extra`; no rows, but these columns, where it is missing or has no rows."""
        rows = self.extra.get(name)
        return pd.DataFrame(columns=list(columns)) if rows is None or rows.empty else rows

    @property
    def choice(self) -> pd.DataFrame:
        """Accuracy on validation images, on which every choice is made: results/recommendation.csv, or no rows."""
        return self.further("recommendation", *CHOICE_COLUMNS)

    @property
    def max_drop_points(self) -> float:
        """What a compressed model may lose: `deploy.max_drop_points`, or 1.0 while there is none."""
        return float(self.params.get("deploy", {}).get("max_drop_points", 1.0))

    def of(self, family: str) -> pd.DataFrame:
        """The models of one family, in the order of their names."""
        return self.models[self.models["family"] == family].sort_values("name")

    def named(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows with a column `model`, beside it the plan's columns and the name; an unknown model is its own family.

        A column that the rows have themselves stays as it is.
        """
        columns = [name for name in ("name", *PLAN_COLUMNS) if name not in rows]
        joined = rows.merge(self.models[["model", *columns]], on="model", how="left")
        unknown = {name: joined[name].fillna(joined["model"]) for name in ("family", "name") if name in columns}
        return joined.assign(**unknown)


def read(paths: Paths) -> Tables:
    """Read and check everything.

    Raises:
        UserError: If a table is missing, damaged, lacks a column, names a model twice or has no baseline.
    """
    models = _models(paths.evaluation)
    rows, pairs = _records(models), _records(_csv(paths.pairs, PAIR_COLUMNS)) if paths.pairs else []
    replicates = Replicates.read(paths.replicates, rows, pairs) if paths.replicates else verdict.NONE
    plan = Plan.of_table(rows)
    differences = _judged([*rows, *pairs], plan, replicates)
    return Tables(
        models=with_differences(models.drop(columns=list(DIFFERENCES)), differences, plan),
        per_class=_csv(paths.per_class, CLASS_COLUMNS),
        headline=files.read_json(paths.headline),
        history=_history(paths.history),
        meta=files.read_json(paths.meta) if paths.meta else {},
        params=params.read(paths.params),
        paper=yaml.safe_load(PAPER.read_text(encoding="utf-8")),
        differences=differences,
        replicates=replicates,
        extra={name: _csv(path) for place in paths.extra for name, path in _below(place).items()},
        notes={name: files.read_json(path) for place in paths.extra for name, path in _below(place, ".json").items()},
    )


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): cell for name, cell in row.items()} for row in rows.to_dict("records")]


def _judged(rows: Iterable[Mapping[str, Any]], plan: Plan, replicates: Replicates) -> Differences:
    """By model and reference, either way round; of a family that the plan does not know, without an interval."""
    measured = {(row["model"], row.get("reference", BASELINE)): row for row in rows
                if not pd.isna(row["difference_points"])}  # fmt: skip
    known = {pair: row for pair, row in measured.items() if all(model in plan for model in pair)}
    judged = dict(zip(known, verdict.judge(list(known.values()), plan, replicates), strict=True))
    for pair, row in measured.items():
        judged.setdefault(pair, Estimate(row["difference_points"], n=int(row["n"]), note=UNKNOWN))
    return {pair[::-1]: -of for pair, of in judged.items()} | judged


def with_differences(models: pd.DataFrame, differences: Differences, plan: Plan) -> pd.DataFrame:
    """The models with what each is to the baseline and to its control, where they were compared."""
    controls = [plan.control(model) if model in plan else None for model in models["model"]]
    known = zip(models["model"], controls, strict=True)
    more = [_trainings(plan, model) - _trainings(plan, control) if control else 0 for model, control in known]
    baseline, control = (between(differences, models, to) for to in ([BASELINE] * len(models), controls))
    compared = models.assign(compared_with=pd.Series(controls, models.index, object), more_trainings=more)
    return compared.assign(difference=baseline, to_control=control)


def between(differences: Differences, models: pd.DataFrame, references: Iterable[object]) -> pd.Series:
    """What each of some models is to its reference; None where the two were not compared."""
    found = [differences.get(pair) for pair in zip(models["model"], references, strict=True)]
    return pd.Series(found, models.index, object)


def _trainings(plan: Plan, model: str) -> int:
    return sum(row.recipe is not None for row in plan.chain(model))


def pareto(models: pd.DataFrame, cost: str = "size_bytes") -> pd.DataFrame:
    """The models that no other one beats in both a cost and accuracy, from the cheapest to the costliest."""
    ordered = models.sort_values([cost, "top1_pct", "model"], ascending=[True, False, True])
    best_so_far = ordered["top1_pct"].cummax().shift(fill_value=float("-inf"))
    return ordered[ordered["top1_pct"] > best_so_far]


def selected(data: Tables, rows: pd.DataFrame) -> pd.Series | None:
    """The smallest of some models, if below the baseline's size, that loses `max_drop_points` or less on validation.

    Held-out images have no part in the choice, so what its row says of them does not flatter. None if there is none.
    """
    good = set(data.choice.loc[data.choice["drop_points"] <= data.max_drop_points, "model"])
    kept = rows[rows["model"].isin(good) & (rows["times_smaller"] > 1)]
    return None if kept.empty else kept.sort_values(["size_bytes", "model"]).iloc[0]


def best_chosen(data: Tables, rows: pd.DataFrame) -> pd.Series | None:
    """The most accurate of some models on validation images; None if none of them was measured there."""
    seen = rows.merge(data.choice[["model", "validation_top1_pct"]], on="model")
    return None if seen.empty else seen.sort_values(["validation_top1_pct", "model"]).iloc[-1]


def _models(path: Path) -> pd.DataFrame:
    frame = _csv(path, EVALUATION_COLUMNS)
    twice = frame["model"][frame["model"].duplicated()]
    if not twice.empty:
        raise UserError(f"{path}: {twice.iloc[0]} has two rows")
    if BASELINE not in set(frame["model"]):
        raise UserError(f"{path}: has no row for the model '{BASELINE}', which every other one is compared with")
    frame = frame.reindex(columns=[*frame, *(column for column in OPTIONAL_COLUMNS if column not in frame)])
    name = frame["model"].str.partition("/")[2].replace("", BASELINE)
    size_mib = frame["size_bytes"] / BYTES_PER_MIB
    baseline_mib = size_mib[frame["model"] == BASELINE].iloc[0]
    return frame.assign(name=name, size_mib=size_mib, times_smaller=baseline_mib / size_mib)


def _history(folder: Path | None) -> pd.DataFrame:
    runs = [
        _csv(path, HISTORY_COLUMNS).assign(model=model, family=Path(model).parts[0], name=path.stem)
        for model, path in (_below(folder, named=False) if folder else {}).items()
    ]
    none = pd.DataFrame(columns=[*HISTORY_COLUMNS, "model", "family", "name"])
    return pd.concat([run for run in runs if not run.empty] or [none], ignore_index=True)


def _below(place: Path, suffix: str = ".csv", *, named: bool = True) -> dict[str, Path]:
    """Every file of a kind under a folder, by its path without suffix, in front the folder's own name if `named`.

    A place that is a file stands for itself, under its own name.
    """
    if place.is_file():
        return {place.stem: place} if place.suffix == suffix else {}
    if not place.is_dir():
        raise UserError(f"{place}: no such {'file' if place.suffix else 'folder'}")
    root = place.parent if named else place
    return {path.relative_to(root).with_suffix("").as_posix(): path for path in sorted(place.rglob(f"*{suffix}"))}


def _csv(path: Path, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    frame = files.read_frame(path, dtype=dict.fromkeys(WORDS, str), keep_default_na=False, na_values=[""])
    if frame.columns.empty:
        return frame
    missing = [column for column in columns if column not in frame]
    if missing:
        raise UserError(f"{path}: lacks the column {missing[0]}; it has {', '.join(map(str, frame.columns))}")
    for column in set(columns) - set(WORDS):
        if not frame.empty and not pd.api.types.is_numeric_dtype(frame[column]):
            raise UserError(f"{path}: the column {column} must hold numbers alone")
    return frame
