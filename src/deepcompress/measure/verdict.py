"""Whether one model is better than another: the only place that says so. Free of torch and pandas.

A measured difference varies with the images that it is measured on and, where a training stands between the two
models, with the chance of that training. One training each says nothing of the latter, so such a difference is judged
over replicates of the pipeline under further seeds, or not at all. Rounding or export of one and the same training
involves no chance but that of the images.

Three rules keep a verdict from changing with the last digits of a rerun. A few trainings say little of their own
spread, so that of each comparison is drawn halfway to what is typical of its family: all comparisons of the models of
one family of the plan, with the baseline and with each other. A gain or a loss must be shown to exceed MARGIN. And as
some of many comparisons look real by chance, Holm's correction is for all of the family. The plain p, of "there is no
difference", and the 95 % interval of the single comparison stand beside the words.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, variance
from typing import Any

from deepcompress.errors import UserError
from deepcompress.measure.statistics import ALPHA, holm, p_of_interval, t_test
from deepcompress.plan_table import BASELINE, Plan

Row = Mapping[str, Any]

GAIN, LOSS = "gain", "loss"
UNTESTED = "not tested: "  # how the phrase starts of one that is not tested; behind it, why
NO_DIFFERENCE, NOT_TESTED = "no significant difference", f"{UNTESTED}one training each"
UNCONFIRMED = "not significant"  # how the phrase starts of one whose own interval leaves out zero
MARGIN = 1.0  # [percent points] that a gain or a loss exceeds
IMAGES, SEEDS, ONE_TRAINING = "images", "seeds", "one training"  # what a verdict rests on
NAN = math.nan
COLUMNS = (  # of metrics/replicates.csv: a row per seed, model and reference
    *("seed", "model", "reference", "n", "top1_pct", "difference_points"),
    *("gained", "lost"),  # images that the model alone, and the reference alone, got right
    "shared_variance",  # [points^2] of the difference: its covariance with those of the other seeds, on the mean
)
TEXTS = ("model", "reference")
SAME = ("n", "top1_pct", "difference_points")  # columns that the workspace's own replicate has as its tables have them


@dataclass(frozen=True)
class Estimate:
    """A measured value, such as a difference of two accuracies, model less reference [percent points]."""

    value: float  # of this run, or with SEEDS the mean over seeds
    low: float = NAN  # of its 95 % interval, that of the single comparison; NaN where it has none, or is not tested
    high: float = NAN  # of its 95 % interval
    # Two-sided, of the single comparison; below 0.05 where, and only where, the interval leaves out zero.
    p: float = NAN
    freedom: float = math.inf  # degrees of freedom of the interval; infinite where nothing varies but the images
    n: int = 0  # images
    holm_p: float = NAN  # of exceeding a margin, corrected for the family; p itself where the comparison stands alone
    note: str = ""  # that nothing is left of what the single comparison seems to say, or why it is not tested
    name: str = ""  # whose it is: a model's id, or a layer

    def __post_init__(self) -> None:
        if math.isnan(self.holm_p):
            object.__setattr__(self, "holm_p", self.p)

    @property
    def tested(self) -> bool:
        """Whether an interval holds what varies between runs."""
        return not math.isnan(self.p)

    @property
    def basis(self) -> str:
        """IMAGES: both models are of the same training; SEEDS: images and trainings vary; ONE_TRAINING."""
        return ONE_TRAINING if not self.tested else IMAGES if math.isinf(self.freedom) else SEEDS

    def __neg__(self) -> Estimate:
        """The same difference, seen from the reference."""
        return replace(self, value=-self.value, low=-self.high, high=-self.low)

    @property
    def words(self) -> str:
        """GAIN, LOSS, NO_DIFFERENCE or NOT_TESTED, by the corrected p."""
        if math.isnan(self.holm_p):
            return NOT_TESTED
        return NO_DIFFERENCE if self.holm_p >= ALPHA else GAIN if self.value > 0 else LOSS

    @property
    def phrase(self) -> str:
        """`words`, or the note."""
        return self.note or self.words

    def exceeding(self, margin: float) -> float:
        """The two-sided p-value of "it is no further from 0 than `margin`" [percent points]; NaN: not tested."""
        if not (self.tested and margin):
            return self.p
        beyond = abs(self.value) - margin
        reach = self.value - self.low if self.value > 0 else self.high - self.value
        return p_of_interval(beyond, reach, self.freedom) if beyond > 0 else 1.0


@dataclass(frozen=True)
class Replicates:
    """Rows of metrics/replicates.csv, a seed's after the other's; without rows there are no replicates."""

    rows: Sequence[Row] = ()  # with COLUMNS
    stale: str | None = None  # why the rows in the file are not used, in one line; None if they are, or there are none
    _of: dict[tuple[str, str | None], list[Row]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.rows:
            self._of.setdefault((row["model"], row["reference"]), []).append(row)

    @classmethod
    def read(cls, path: Path, evaluation: Iterable[Row], pairs: Iterable[Row]) -> Replicates:
        """The replicates in a file, which need not exist, of an evaluation: rows of its two tables.

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


def judge(rows: Sequence[Row], plan: Plan, replicates: Replicates = NONE) -> list[Estimate]:
    """What measured differences say, each within its family: all that are given of the models of one family.

    Args:
        rows: All of metrics/pairs.csv, and of metrics/evaluation.csv, where the baseline is the reference.
        plan: Says what was trained, and of which family a model is.
        replicates: Of the same evaluation.

    Raises:
        ValueError: If a row compares nothing, as the baseline's own.
    """
    families = [plan[row["model"]].family for row in rows]
    repeated = [_repeated(row, plan, replicates) for row in rows]
    usual = typical([differences(some) for some in repeated], families)
    alone = [_alone(*of) for of in zip(rows, repeated, usual, strict=True)]
    return corrected(alone, families, MARGIN)


def corrected(
    estimates: Sequence[Estimate], families: Sequence[object] | None = None, margin: float = 0.0
) -> list[Estimate]:
    """Differences whose words hold for a whole family: a false gain or loss in it in at most 5 % of runs.

    Args:
        estimates: Each of a single comparison.
        families: Of each, if they are not all of one; those that are not tested count for none.
        margin: What a gain or a loss must exceed [percent points].
    """
    judged, over = list(estimates), f" beyond {margin:g} point{'' if margin == 1 else 's'}" if margin else ""
    for places in _members(families or [None] * len(judged)):
        tested = sum(estimates[place].tested for place in places)
        holm_note = f" after Holm's correction for {tested} comparisons" if tested > 1 else ""
        for place, p in zip(places, holm([estimates[place].exceeding(margin) for place in places]), strict=True):
            alone = estimates[place]
            lost = f"{UNCONFIRMED}{over}{holm_note}" if alone.p < ALPHA <= p else ""
            judged[place] = replace(alone, holm_p=p, note=lost if alone.tested else alone.note)
    return judged


def typical(repeated: Sequence[Sequence[float]], families: Sequence[object]) -> list[float | None]:
    """The variance between trainings [points^2] that the others of its family have, for each comparison.

    Args:
        repeated: The differences of each [percent points], one per training; fewer than two say nothing.
        families: Of each.

    Returns:
        The geometric mean over the others, of those that are not 0: a few of them are very large. None: no others.
    """
    found: list[float | None] = [None] * len(repeated)
    for places in _members(families):
        spreads = {place: variance(repeated[place]) for place in places if len(repeated[place]) > 1}
        logs = {place: math.log(spread) for place, spread in spreads.items() if spread}
        for place in spreads:
            others = [of for other, of in logs.items() if other != place]
            found[place] = math.exp(fmean(others)) if others else None
    return found


def _members(families: Sequence[object]) -> Iterable[list[int]]:
    """The places of each family."""
    members: dict[object, list[int]] = {}
    for place, family in enumerate(families):
        members.setdefault(family, []).append(place)
    return members.values()


def _repeated(row: Row, plan: Plan, replicates: Replicates) -> list[Row] | None:
    """Rows of a comparison, one per training; None where no training stands between the two models."""
    model, reference, points = row["model"], row.get("reference", BASELINE), row["difference_points"]
    if points is None or math.isnan(points):
        raise ValueError(f"{model} is compared with nothing")
    return replicates.of(model, reference) if trained_apart(plan, model, reference) else None


def differences(rows: Iterable[Row] | None) -> list[float]:
    """The difference of each training [percent points]."""
    return [row["difference_points"] for row in rows or ()]


def _alone(row: Row, repeated: Sequence[Row] | None, usual: float | None) -> Estimate:
    points, n = row["difference_points"], int(row["n"])
    if repeated is None:
        low, high, p = (row[name] for name in ("difference_points_low", "difference_points_high", "mcnemar_p"))
        return Estimate(points, low, high, p, n=n)
    if len(repeated) < 2:
        return Estimate(points, n=n)
    shared = fmean(row["shared_variance"] for row in repeated)
    return over_seeds(differences(repeated), shared_variance=shared, n=n, usual=usual)


def reason(phrase: str) -> str:
    """Why a difference is not tested, from its phrase: `one training each`; empty of one that is tested."""
    return phrase.partition(UNTESTED)[2]


def trained_apart(plan: Plan, model: str, reference: str) -> bool:
    """Whether a training stands between two models: whether one of them has been trained as the other was not."""
    one, other = ({row.id for row in plan.chain(name) if row.recipe} for name in (model, reference))
    return one != other


def over_seeds(
    points: Sequence[float], *, shared_variance: float = 0.0, n: int = 0, usual: float | None = None
) -> Estimate:
    """The verdict on a difference of accuracies that was measured once per training, taken alone.

    Trainings and images are crossed: each training is measured on the same images. The mean over k trainings varies by
    S^2 / k, S^2 being the variance between them (of trainings and of what they and images do together), and by what
    all of them share because their images are the same: the covariance of two trainings' differences. Where nothing
    varies, the difference is not tested: trainings that came out equal by chance do not make the next one equal.

    Args:
        points: Differences [percent points], one per training, two or more.
        shared_variance: That covariance [points^2]; an estimate below 0 counts as 0.
        n: Images.
        usual: The variance between trainings of comparisons like this one [points^2]: counts as much as its own, and
            brings as many degrees of freedom.

    Source: Obuchowski and Rockette, Communications in Statistics 24 (1995), 285, there readers in place of trainings;
    degrees of freedom: Hillis, Statistics in Medicine 26 (2007), 596, equation 23; `usual`: the moderated t of Smyth,
    Statistical Applications in Genetics and Molecular Biology 3 (2004), 3, with prior degrees of freedom equal to its
    own, where the prior is the geometric mean.
    """
    k, mean, spread, own = len(points), fmean(points), variance(points), len(points) - 1
    if usual is not None:
        spread, own = (spread + usual) / 2, 2 * own
    between = spread / k
    if between == 0:
        return Estimate(mean, n=n, note=_equal(k))
    total = between + max(shared_variance, 0.0)
    freedom = own * (total / between) ** 2
    return Estimate(mean, *t_test(mean, total, freedom), freedom, n)


def change(before: float, after: float, model: str, n: int, replicates: Replicates = NONE) -> Estimate:
    """What a change of one model's top-1 accuracy [%] between two revisions says, taken alone, both on the same images.

    Replicates, of either revision, tell how far one training lies from another. Without them a change is not tested.
    """
    points, spread = after - before, _spread(model, replicates)
    if points == 0:
        return Estimate(0.0, 0.0, 0.0, 1.0, n=n)
    trained = len(replicates.of(model))
    if not spread:
        return Estimate(points, n=n, note=_equal(trained) if trained > 1 else "")
    freedom = trained - 1
    return Estimate(points, *t_test(points, 2 * spread, freedom), freedom, n)


def _equal(trainings: int) -> str:
    return f"{UNTESTED}the same in all {trainings} trainings"


def _spread(model: str, replicates: Replicates) -> float | None:
    """The variance between trainings of a model [points^2].

    Two or three trainings may come out equal by chance, which does not make the next one equal: then, what is typical
    of the other models. None, or 0: nothing is known.
    """
    models = dict.fromkeys(row["model"] for row in replicates.rows)
    trained = [[row["top1_pct"] for row in replicates.of(name)] for name in models]
    usual = dict(zip(models, typical(trained, [None] * len(trained)), strict=True))
    own = dict(zip(models, trained, strict=True)).get(model, [])
    return (variance(own) or usual[model]) if len(own) > 1 else None


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
