"""The measured tables that the report is made of, read once and checked: no tensors, no models, no torch.

A model's id is the key of every table; its first part is the family: `pruned` of `pruned/structured-0.25`.
Columns and families that this file has never heard of pass through: a new technique needs no change here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from deepcompress import files, params
from deepcompress.errors import UserError

BASELINE = "baseline"
ON_THE_WAY = ("masked",)  # families of models that show what a step did, such as pruning before training on
TEACHERS = "teachers"
BYTES_PER_MIB = 2**20
EVALUATION_COLUMNS = ("model", "top1_pct", "top1_pct_low", "top1_pct_high", "n", "size_bytes")
OPTIONAL_COLUMNS = (
    "top5_pct", "cross_entropy_loss", "calibration_error_pct", "difference_points", "difference_points_low",
    "difference_points_high", "mcnemar_p", "parameters", "nonzero_weights", "macs", "training_tera_macs",
    "training_tera_macs_total",
)  # fmt: skip
PAIR_COLUMNS = (
    "model", "reference", "n", "difference_points", "difference_points_low", "difference_points_high", "mcnemar_p",
    "agreement_pct",
)  # fmt: skip
WORDS = ("model", "reference", "class")  # read as they are, for a class may be called "7" or "null"
CLASS_COLUMNS = ("model", "class", "n", "top1_pct")
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
    extra: tuple[Path, ...] = ()


@dataclass(frozen=True, eq=False)
class Tables:
    """All that the sections of the report may look at.

    Attributes:
        models: A row per model id: `metrics/evaluation.csv` plus family, name, variant, size_mib and
            times_smaller; optional columns that are missing hold NaN.
        per_class: Accuracy of each model on each class.
        headline: What `dvc metrics diff` compares.
        history: A row per model and epoch; empty when nothing was trained.
        meta: What the training images are: classes, counts, source.
        params: params.yaml as plain values.
        paper: The source report's own figures.
        pairs: Paired differences between a model and a reference other than the baseline; may be empty.
        extra: Every further CSV, by folder and path without suffix: `sensitivity/structured`; one that is given as
            a file, by its name.
        notes: Every further JSON, named alike.
    """

    models: pd.DataFrame
    per_class: pd.DataFrame
    headline: dict[str, Any]
    history: pd.DataFrame
    meta: dict[str, Any]
    params: dict[str, Any]
    paper: dict[str, Any]
    pairs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(PAIR_COLUMNS)))
    extra: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def baseline(self) -> pd.Series:
        """The row that every other model is compared with."""
        return self.models[self.models["model"] == BASELINE].iloc[0]

    @property
    def candidates(self) -> pd.DataFrame:
        """The models that somebody might use: all but those that show a step on the way."""
        return self.models[~self.models["family"].isin(ON_THE_WAY)]

    @property
    def compressed(self) -> pd.DataFrame:
        """The candidates without teachers, which are there to be learned from, whatever their size."""
        return self.candidates[self.candidates["family"] != TEACHERS]

    @property
    def max_drop_points(self) -> float:
        """What a compressed model may lose: `deploy.max_drop_points`, or 1.0 while there is none."""
        return float(self.params.get("deploy", {}).get("max_drop_points", 1.0))

    def of(self, family: str) -> pd.DataFrame:
        """The models of one family, in the order of their names."""
        return self.models[self.models["family"] == family].sort_values("name")


def read(paths: Paths) -> Tables:
    """Read and check everything.

    Raises:
        UserError: If a table is missing, damaged, lacks a column, names a model twice or has no baseline.
    """
    return Tables(
        models=_models(paths.evaluation),
        per_class=_csv(paths.per_class, CLASS_COLUMNS),
        headline=files.read_json(paths.headline),
        history=_history(paths.history),
        meta=files.read_json(paths.meta) if paths.meta else {},
        params=params.read(paths.params),
        paper=paper_results(),
        pairs=_pairs(paths.pairs),
        extra={name: _csv(path) for place in paths.extra for name, path in _below(place).items()},
        notes={name: files.read_json(path) for place in paths.extra for name, path in _below(place, ".json").items()},
    )


def paper_results() -> dict[str, Any]:
    """The figures that the source report states, as data."""
    return yaml.safe_load(Path(__file__).with_name("paper_results.yaml").read_text(encoding="utf-8"))


def pareto(models: pd.DataFrame) -> pd.DataFrame:
    """The models that no other one beats in both bytes and accuracy, from the smallest to the largest."""
    ordered = models.sort_values(["size_bytes", "top1_pct", "model"], ascending=[True, False, True])
    best_so_far = ordered["top1_pct"].cummax().shift(fill_value=float("-inf"))
    return ordered[ordered["top1_pct"] > best_so_far]


def smallest_within(models: pd.DataFrame, max_drop_points: float) -> pd.Series | None:
    """The smallest model below the baseline's size that loses at most so many points, if any."""
    good = models[(models["difference_points"] >= -max_drop_points) & (models["times_smaller"] > 1)]
    return None if good.empty else good.sort_values(["size_bytes", "model"]).iloc[0]


def family(model: str) -> str:
    """First part of a model's id."""
    return model.split("/", 1)[0]


def _models(path: Path) -> pd.DataFrame:
    frame = _csv(path, EVALUATION_COLUMNS)
    twice = frame["model"][frame["model"].duplicated()]
    if not twice.empty:
        raise UserError(f"{path}: {twice.iloc[0]} has two rows")
    if BASELINE not in set(frame["model"]):
        raise UserError(f"{path}: has no row for the model '{BASELINE}', which every other one is compared with")
    for column in OPTIONAL_COLUMNS:
        if column not in frame:
            frame[column] = float("nan")
    name = frame["model"].str.split("/", n=1).str[-1]
    size_mib = frame["size_bytes"] / BYTES_PER_MIB
    baseline_mib = size_mib[frame["model"] == BASELINE].iloc[0]
    return frame.assign(
        family=frame["model"].map(family),
        name=name,
        variant=name.str.split("-", n=1).str[0],
        size_mib=size_mib,
        times_smaller=baseline_mib / size_mib,
    )


def _pairs(path: Path | None) -> pd.DataFrame:
    if path is None or (path.is_file() and not path.read_text(encoding="utf-8").strip()):
        return pd.DataFrame(columns=list(PAIR_COLUMNS))
    return _csv(path, PAIR_COLUMNS)


def _history(folder: Path | None) -> pd.DataFrame:
    runs = [
        _csv(path, HISTORY_COLUMNS).assign(model=model)
        for model, path in (_below(folder, named=False) if folder else {}).items()
    ]
    filled = [run for run in runs if not run.empty]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=[*HISTORY_COLUMNS, "model"])


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
    try:
        frame = pd.read_csv(path, dtype=dict.fromkeys(WORDS, str), keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: damaged table ({error})") from None
    missing = [column for column in columns if column not in frame]
    if missing:
        raise UserError(f"{path}: lacks the column {missing[0]}; it has {', '.join(map(str, frame.columns))}")
    for column in set(columns) - set(WORDS):
        if not frame.empty and not pd.api.types.is_numeric_dtype(frame[column]):
            raise UserError(f"{path}: the column {column} must hold numbers alone")
    return frame
