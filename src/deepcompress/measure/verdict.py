"""Whether one model is better than another: the only place that says so. Free of torch and pandas.

A measured difference varies with the images that it is measured on and, where a training stands between the two
models, with the chance of that training. One training each says nothing of the latter, so such a difference is judged
over replicates of the pipeline under further seeds, or not at all. Rounding or export of one and the same training
involves no chance but that of the images.

A table of many comparisons holds some that chance makes look real. So the words of a verdict follow p as Holm corrects
it within a family: all comparisons of the models of one family of the plan, with the baseline and with each other. The
plain p and the 95 % interval, of the single comparison, stand beside them.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, variance
from typing import TYPE_CHECKING, Any

from deepcompress.errors import UserError
from deepcompress.measure.statistics import ALPHA, holm, t_test
from deepcompress.plan_table import BASELINE

if TYPE_CHECKING:
    from deepcompress.plan_table import Plan

Row = Mapping[str, Any]

GAIN, LOSS = "gain", "loss"
NO_DIFFERENCE, NOT_TESTED = "no significant difference", "not tested: one training each"
UNCONFIRMED = "not significant after Holm's correction"  # of a single comparison whose own interval leaves out zero
IMAGES, SEEDS, ONE_TRAINING = "images", "seeds", "one training"  # what a verdict rests on
COLUMNS = (  # of metrics/replicates.csv: a row per seed, model and reference
    *("seed", "model", "reference", "n", "top1_pct", "difference_points"),
    *("gained", "lost"),  # images that the model alone, and the reference alone, got right
    "shared_variance",  # [points^2] of the difference: its covariance with those of the other seeds, on the mean
)
TEXTS = ("model", "reference")
SAME = ("n", "top1_pct", "difference_points")  # columns that the workspace's own replicate has as its tables have them


@dataclass(frozen=True)
class Verdict:
    """What is known of a difference, model less reference.

    Attributes:
        points: The difference [percent points]: of this run, or with SEEDS the mean over seeds.
        low: Of its 95 % interval, that of the single comparison; None where it is not tested.
        high: Of its 95 % interval.
        p: Two-sided, of the single comparison; below 0.05 where, and only where, the interval leaves out zero.
        basis: IMAGES: both models are of the same training; SEEDS: images and trainings vary; ONE_TRAINING.
        seeds: Trainings that it rests on.
        n: Images.
        freedom: Degrees of freedom of the interval.
        holm_p: p, corrected for the family; p itself where the comparison stands alone.
        comparisons: How many were tested of the family.
    """

    points: float
    low: float | None
    high: float | None
    p: float | None
    basis: str
    seeds: int
    n: int
    freedom: float = math.inf
    holm_p: float | None = None
    comparisons: int = 1

    def __post_init__(self) -> None:
        if self.holm_p is None:
            object.__setattr__(self, "holm_p", self.p)

    @property
    def tested(self) -> bool:
        """Whether an interval holds what varies between runs."""
        return self.p is not None

    @property
    def words(self) -> str:
        """GAIN, LOSS, NO_DIFFERENCE or NOT_TESTED, by the corrected p."""
        if self.holm_p is None:
            return NOT_TESTED
        return NO_DIFFERENCE if self.holm_p >= ALPHA else GAIN if self.points > 0 else LOSS

    @property
    def phrase(self) -> str:
        """`words`, or that correction leaves nothing of what the single comparison seems to say."""
        if self.p is not None and self.p < ALPHA and self.words == NO_DIFFERENCE:
            return f"{UNCONFIRMED} for {self.comparisons} comparisons"
        return self.words


@dataclass(frozen=True)
class Replicates:
    """Rows of metrics/replicates.csv, a seed's after the other's; without rows there are no replicates.

    Attributes:
        rows: With COLUMNS.
        stale: Why the rows in the file are not used, in one line; None if they are, or there are none.
    """

    rows: Sequence[Row] = ()
    stale: str | None = None
    _of: dict[tuple[str, str | None], list[Row]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.rows:
            self._of.setdefault((row["model"], row["reference"]), []).append(row)

    @classmethod
    def read(cls, path: Path, evaluation: Iterable[Row], pairs: Iterable[Row]) -> Replicates:
        """The replicates of a committed evaluation.

        Args:
            path: metrics/replicates.csv; need not exist.
            evaluation: Rows of metrics/evaluation.csv.
            pairs: Rows of metrics/pairs.csv.

        Raises:
            UserError: If the file is damaged.
        """
        rows = _read(path) if path.is_file() else []
        own = {(row["model"], None if row["model"] == BASELINE else BASELINE): row for row in evaluation}
        own |= {(row["model"], row["reference"]): row for row in pairs}
        by_seed: dict[int, list[Row]] = {}
        for row in rows:
            by_seed.setdefault(int(row["seed"]), []).append(row)
        other = {seed: _first_other(of_seed, own) for seed, of_seed in by_seed.items()}
        if rows and None not in other.values():
            seed, model = next(iter(other.items()))
            stale = f"{path}: not of this evaluation ({model} of seed {seed} is another one); run `make seeds`"
            return cls(stale=stale)
        return cls(rows)

    def __bool__(self) -> bool:
        """Whether there are several trainings."""
        return len(self.seeds) > 1

    @property
    def seeds(self) -> list[int]:
        """Seeds, in the order of the file."""
        return list(dict.fromkeys(int(row["seed"]) for row in self.rows))

    def of(self, model: str, reference: str = BASELINE) -> list[Row]:
        """A row per seed; empty where the two were not compared. The baseline's own have no reference."""
        return self._of.get((model, None if model == BASELINE else reference), [])


NONE = Replicates()


def judge(rows: Sequence[Row], plan: Plan, replicates: Replicates = NONE) -> list[Verdict]:
    """What measured differences say, each within its family: all that are given of the models of one family.

    Args:
        rows: All of metrics/pairs.csv, and of metrics/evaluation.csv, where the baseline is the reference.
        plan: Says what was trained, and of which family a model is.
        replicates: Of the same evaluation.

    Raises:
        ValueError: If a row compares nothing, as the baseline's own.
    """
    return corrected([_alone(row, plan, replicates) for row in rows], [plan[row["model"]].family for row in rows])


def corrected(verdicts: Sequence[Verdict], families: Sequence[object]) -> list[Verdict]:
    """Verdicts whose words hold for a whole family: a false gain or loss in it in at most 5 % of runs.

    Args:
        verdicts: Each of a single comparison.
        families: Of each; those that are not tested count for none.
    """
    members: dict[object, list[int]] = {}
    for place, family in enumerate(families):
        members.setdefault(family, []).append(place)
    judged = list(verdicts)
    for places in members.values():
        tested = sum(verdicts[place].tested for place in places)
        for place, p in zip(places, holm([verdicts[place].p for place in places]), strict=True):
            judged[place] = replace(verdicts[place], holm_p=p, comparisons=tested)
    return judged


def _alone(row: Row, plan: Plan, replicates: Replicates) -> Verdict:
    model, reference, points = row["model"], row.get("reference", BASELINE), row["difference_points"]
    if points is None or math.isnan(points):
        raise ValueError(f"{model} is compared with nothing")
    if not trained_apart(plan, model, reference):
        low, high, p = (row[name] for name in ("difference_points_low", "difference_points_high", "mcnemar_p"))
        return Verdict(points, low, high, p, IMAGES, 1, int(row["n"]))
    rows = replicates.of(model, reference)
    if len(rows) < 2:
        return Verdict(points, None, None, None, ONE_TRAINING, 1, int(row["n"]))
    shared = fmean(row["shared_variance"] for row in rows)
    return over_seeds([row["difference_points"] for row in rows], shared_variance=shared, n=int(row["n"]))


def trained_apart(plan: Plan, model: str, reference: str) -> bool:
    """Whether a training stands between two models: whether one of them has been trained as the other was not."""
    one, other = ({row.id for row in plan.chain(name) if row.recipe} for name in (model, reference))
    return one != other


def over_seeds(differences: Sequence[float], *, shared_variance: float = 0.0, n: int = 0) -> Verdict:
    """The verdict on a difference of accuracies that was measured once per training, taken alone.

    Trainings and images are crossed: each training is measured on the same images. The mean over k trainings varies by
    S^2 / k, S^2 being the variance between them (of trainings and of what they and images do together), and by what
    all of them share because their images are the same: the covariance of two trainings' differences.

    Args:
        differences: [percent points], one per training, two or more.
        shared_variance: That covariance [points^2]; an estimate below 0 counts as 0.
        n: Images.

    Source: Obuchowski and Rockette, Communications in Statistics 24 (1995), 285, there readers in place of trainings;
    degrees of freedom: Hillis, Statistics in Medicine 26 (2007), 596, equation 23.
    """
    k, points = len(differences), fmean(differences)
    between = variance(differences) / k
    total = between + max(shared_variance, 0.0)
    freedom = (k - 1) * (total / between) ** 2 if between else math.inf
    low, high, p = t_test(points, total, freedom)
    return Verdict(points, low, high, p, SEEDS, k, n, freedom)


def change(before: float, after: float, model: str, n: int, replicates: Replicates = NONE) -> Verdict:
    """What a change of one model's accuracy between two revisions says, taken alone, both on the same images.

    Args:
        before: Its top-1 accuracy [%].
        after: The same in the other revision.
        model: Its id.
        n: Images.
        replicates: Of either revision: how far one training lies from another. Without them a change is not tested.
    """
    points, trained = after - before, [row["top1_pct"] for row in replicates.of(model)]
    if points == 0:
        return Verdict(0.0, 0.0, 0.0, 1.0, IMAGES, 1, n)
    if len(trained) < 2:
        return Verdict(points, None, None, None, ONE_TRAINING, 1, n)
    freedom = len(trained) - 1
    low, high, p = t_test(points, 2 * variance(trained), freedom)
    return Verdict(points, low, high, p, SEEDS, len(trained), n, freedom)


def _first_other(rows: Iterable[Row], own: Mapping[tuple[str, str | None], Row]) -> str | None:
    """The first model of which a replicate says something else than the tables; None if there is none."""
    for row in rows:
        table = own.get((row["model"], row["reference"]))
        shared = [name for name in SAME if row[name] is not None and name in (table or ())]  # pairs.csv has no accuracy
        if table and any(row[name] != table[name] for name in shared):
            return str(row["model"])
    return None


def _read(path: Path) -> list[Row]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            table = csv.DictReader(stream, strict=True)
            if tuple(table.fieldnames or ()) != COLUMNS:
                raise ValueError(f"its columns must be {', '.join(COLUMNS)}")
            return [
                {name: (cell or None) if name in TEXTS else float(cell) if cell else None for name, cell in row.items()}
                for row in table
            ]
    except (ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{path}: damaged table ({error}); run `make seeds`") from None
