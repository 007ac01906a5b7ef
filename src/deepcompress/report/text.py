"""What the report says, free of any HTML: numbers and sentences made of rows, and the blocks of a section.

Numbers are rounded, with units, intervals and a true minus; a missing one is a dash.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from deepcompress import params
from deepcompress.errors import UserError
from deepcompress.files import mebibytes
from deepcompress.measure import verdict
from deepcompress.measure.verdict import Estimate
from deepcompress.report import tables
from deepcompress.report.tables import Tables

ROOM = "report.sections"
MISSING = "–"
UNCONFIRMED = "n.s."  # behind an interval that leaves out zero
NS = (
    f"n.s.: not significant beyond {verdict.MARGIN:g} point after Holm's correction for all comparisons of the family "
    "that the model is of."
)
ENDS = ("", "_low", "_high")  # of the columns of a value with its interval
NUMBER = re.compile(r"([<+−]\s?)?\d[\d,.]*(e[+−]\d+)?( ?[kMG×])?( \(.*\))?|–")
# A column as it is, a number with its digits, how to write a cell, or how to write a row.
Column = str | tuple[str, int | Callable[[Any], str]] | Callable[[pd.Series], str]


# Numbers.


def number(value: float, digits: int = 1) -> str:
    """Rounded, thousands apart, without a negative zero: 12,345.6."""
    # NumPy's floats round halves to even, Python's by their exact value.
    return MISSING if math.isnan(value) else f"{round(float(value), digits) + 0.0:,.{digits}f}".replace("-", "−")


def signed(value: float, digits: int = 1) -> str:
    """Rounded with its sign: +0.3, −1.2; zero has none."""
    if math.isnan(value):
        return MISSING
    rounded = round(float(value), digits) + 0.0
    return f"{rounded:{'+' if rounded else ''}.{digits}f}".replace("-", "−")


def probability(value: float) -> str:
    """A p-value; below a thousandth the exact value says nothing more."""
    return MISSING if math.isnan(value) else "< 0.001" if value < 1e-3 else f"{value:.3f}"


def scientific(value: float) -> str:
    """With a power of ten: 1.2e−03."""
    return f"{value:.1e}".replace("-", "−")


def digits(value: float) -> str:
    """With two digits, and with a power of ten where it is very small: 0.31, 1.5e−05."""
    return f"{value:.2g}".replace("-", "−")


def short(value: float) -> str:
    """A count in thousands, millions or billions: 1.23 M."""
    value = float(f"{value:.3g}")  # first, or 999,900 would become 1e+03 k
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return number(value, 0)


def percent(part: float, whole: float) -> str:
    """A share in whole percent, without the sign: 78."""
    return number(100 * part / whole, 0)


def times(value: float) -> str:
    """A ratio, one that would be rounded to zero with two digits: 3.9×, 0.028×."""
    if 0 < value < 0.05:
        return f"{digits(value)}×"
    return MISSING if math.isnan(value) else f"{number(value, 1 if value < 100 else 0)}×"


def mib(size_bytes: float) -> str:
    """Bytes in MiB, without the unit: 2.38."""
    return mebibytes(size_bytes / tables.BYTES_PER_MIB)


def sample(n: float) -> str:
    """How many images, or calls, stand behind a number: n = 2,000."""
    return f"n = {int(n):,}"


def count(n: int, noun: str) -> str:
    """`1 model`, `2 models`, `2 classes`."""
    return f"{n:,} {noun}{'' if n == 1 else 'es' if noun.endswith('s') else 's'}"


# Rows of tables.


def interval(row: pd.Series, column: str, digits: int = 1, write: Callable[[float, int], str] = number) -> str:
    """A value with its interval, from `<column>_low` and `<column>_high`: 61.2 (60.3 to 62.1)."""
    return MISSING if pd.isna(row.get(column)) else spanned(estimate(row, column), digits, write)


def spanned(of: Estimate, digits: int = 1, write: Callable[[float, int], str] = number) -> str:
    """A value with both ends of its interval, or alone where it has none: 61.2 (60.3 to 62.1)."""
    value, low, high = (write(end, digits) for end in (of.value, of.low, of.high))
    return value if math.isnan(of.low) else f"{value} ({low} to {high})"


def estimate(row: pd.Series, column: str) -> Estimate:
    """A value and both ends of its interval."""
    value, low, high = (float(row[f"{column}{end}"]) for end in ENDS)
    return Estimate(value, low, high)


def smaller(row: pd.Series) -> str:
    """How many times a model's file goes into the baseline's: 3.9× smaller."""
    return f"{times(row['times_smaller'])} smaller"


def accuracy(row: pd.Series) -> str:
    """Top-1 with its interval: 61.2 (60.3 to 62.1)."""
    return interval(row, "top1_pct")


def difference(of: Estimate | None, *, phrase: bool = False) -> str:
    """Points with their interval, −0.4 (−1.1 to +0.3), or with why there is none: −0.4 (one training each).

    Where the interval leaves out zero but there is no verdict, `n.s.` stands behind it, or the whole of its `phrase`,
    for prose: what does not say so looks like a finding.
    """
    if not isinstance(of, Estimate):  # None, or NaN in a table
        return MISSING
    if math.isnan(of.low):
        return f"{signed(of.value)} ({verdict.reason(of.phrase)})"
    doubt = f", {of.phrase if phrase else UNCONFIRMED}" if of.phrase.startswith(verdict.UNCONFIRMED) else ""
    return f"{signed(of.value)} ({signed(of.low)} to {signed(of.high)}{doubt})"


def p_of(name: str) -> Column:
    """How to write `p` or `holm_p` of a row's difference."""
    return lambda row: probability(getattr(row["difference"], name, math.nan))


def ns(cells: Iterable[str]) -> str:
    """NS behind a space where one of these texts needs it, else nothing."""
    return f" {NS}" if any(UNCONFIRMED in cell for cell in cells) else ""


# Findings, in one sentence each.


def of_all(data: Tables) -> str:
    """The smallest model that keeps the accuracy asked for, or the baseline alone, as a title."""
    best, base = tables.selected(data, data.candidates), data.baseline
    n = sample(base["n"])
    if best is not None:
        points = f"{signed(getattr(best['difference'], 'value', math.nan))} points to the baseline"
        return f"{best['model']} is {smaller(best)} at {points} ({n})"
    if len(data.candidates) == 1:
        return f"The baseline: {number(base['top1_pct'])} % top-1 in {mebibytes(base['size_mib'])} MiB ({n})"
    return f"No smaller model stays within {_points(data.max_drop_points)} of the baseline ({n})"


def of_models(rows: pd.DataFrame, data: Tables, *, name: str = "name") -> str:
    """What the smallest good model of some brings, or how far the best of them is from good, as a sentence.

    Which one is good or best is chosen on validation images; what is said of it was measured on held-out ones. `name`
    is the column that the sentence calls a model by: `name`, or `model` for the whole id.
    """
    compared = rows.dropna(subset=["difference"])
    if compared.empty:
        return "No model was compared with the baseline."
    limit, top = f"at most {_points(data.max_drop_points)}", tables.best_chosen(data, compared)
    if top is None:
        return f"None of these models was measured on validation images, so none is chosen to lose {limit}."
    best = tables.selected(data, compared)
    if best is not None:
        found = f"{smaller(best)}; on held-out images {change(best)}"
        return f"{best[name]} is the smallest that loses {limit} on validation images: {found}."
    fits = data.choice.loc[data.choice["model"] == top["model"], "drop_points"].iloc[0] <= data.max_drop_points
    none = f"None {'that ' if fits else ''}loses {limit} on validation images{' is smaller' if fits else ''}"
    return f"{none}; {top[name]} is best there; on held-out images {change(top)}."


def untested(differences: pd.Series, what: str) -> str:
    """That it is not tested what some models bring, and why; none of them has an interval."""
    why = verdict.reason(differences.iloc[0].phrase)
    return f"{why[0].upper()}{why[1:]}: what {what} is not tested; `make seeds` trains more."


def change(row: pd.Series) -> str:
    """What a model is to the baseline and, where it has one, to its control: what and against what.

    Differences with their intervals and verdicts, of which one that holds for both stands once, at the end; what was
    not tested is called neither a gain nor a loss.
    """
    if pd.isna(row["difference"]):
        return "not compared with the baseline"
    to = {"the baseline": row["difference"]}
    if pd.notna(row["to_control"]):
        more = int(row["more_trainings"])
        trained = f"with {count(more, 'training')} fewer" if more else "trained as long"
        to[f"{row['compared_with']}, {trained}"] = row["to_control"]
    doubts = ["" if of.phrase in (verdict.GAIN, verdict.LOSS) else of.phrase for of in to.values()]
    shared = doubts[0] if len(to) > 1 and len(set(doubts)) == 1 else ""
    parts = []
    for (reference, of), doubt in zip(to.items(), doubts, strict=True):
        over = " over seeds" if of.basis == verdict.SEEDS else ""
        interval = f"95 % interval{over} {signed(of.low)} to {signed(of.high)}" if not math.isnan(of.low) else ""
        within = ", ".join(words for words in (interval, "" if shared else doubt) if words)
        parts.append(f"{signed(of.value)} points{f' ({within})' if within else ''} to {reference}")
    return ", ".join(parts) + (f"; both: {shared}" if shared else "")


def _points(value: float) -> str:
    return f"{value:g} point{'' if value == 1 else 's'}"


# Blocks: paragraphs, pictures, tables and folds, in order.


@dataclass(frozen=True)
class Paragraph:
    """A sentence or two; `strong` marks the one that the reader should take away."""

    text: str
    strong: bool = False


@dataclass(frozen=True, eq=False)
class Picture:
    """One chart or several panels, `across` beside each other where there is room.

    Its name is unique in the report and becomes the file `plots/figures/<name>.png`; its title is the finding.
    """

    name: str
    title: str
    panels: tuple[dict[str, Any], ...]
    caption: str = ""
    across: int = 1


@dataclass(frozen=True)
class Table:
    """Written cells under written headings; folded away behind the words of `folded` when these are given.

    With `links`, the first cell of each row leads to the part of the page with that key.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    folded: str = ""
    links: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: pd.DataFrame, columns: Mapping[str, Column], caption: str = "", folded: str = "") -> Table:
        """A line per row, a column per heading; columns without any value are left out."""
        series = [row for _, row in rows.iterrows()]
        cells = {head: [_written(row, column) for row in series] for head, column in columns.items()}
        shown = {head: column for head, column in cells.items() if set(column) != {MISSING}}
        return cls(tuple(shown), tuple(zip(*shown.values(), strict=True)), caption, folded)

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For each column whether all of its cells are numbers, so that it is set flush right."""
        columns = zip(*self.rows, strict=True) if self.rows else ((),) * len(self.columns)
        return tuple(all(NUMBER.fullmatch(cell) for cell in column) for column in columns)


@dataclass(frozen=True, eq=False)
class Fold:
    """Details that open with a click, under a title of their own; `key` is their anchor."""

    title: str
    blocks: tuple[Block, ...]
    key: str


Block = Paragraph | Picture | Table | Fold


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the page: a question, and what answers it."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def pictures(self) -> list[Picture]:
        """The figures, folded ones, too."""
        return [block for block in flat(self.blocks) if isinstance(block, Picture)]

    @property
    def keys(self) -> list[str]:
        """The anchors of the folds."""
        return [block.key for block in flat(self.blocks) if isinstance(block, Fold)]


def flat(blocks: Iterable[Block]) -> Iterator[Block]:
    """Blocks, and after each fold what it holds."""
    for block in blocks:
        yield block
        if isinstance(block, Fold):
            yield from flat(block.blocks)


def fold(title: str, key: str, blocks: Iterable[Block]) -> list[Block]:
    """A fold of some blocks, in a list; an empty one of none."""
    held = tuple(blocks)
    return [Fold(title, held, key)] if held else []


def interval_of(column: str, digits: int = 1, write: Callable[[float, int], str] = number) -> Column:
    """How to write a column with its interval."""
    return lambda row: interval(row, column, digits, write)


def builders() -> dict[str, Callable[[Tables], Section | None]]:
    """What makes each section, by its anchor, in the order of the page.

    Every file of sections/ lists its own in SECTIONS: anchor -> (order, function). A UserError names a file that is not
    as it must be, or two that have the same anchor.
    """
    listed: dict[str, tuple[int, str, str, Callable[[Tables], Section | None]]] = {}
    for file in params.plugins(ROOM):
        for anchor, (order, build) in params.plugin(ROOM, file).SECTIONS.items():
            if anchor in listed:
                raise UserError(
                    f"src/deepcompress/report/sections/{file}.py: SECTIONS: {anchor!r} is a section of "
                    f"{listed[anchor][2]}.py already; give yours another anchor"
                )
            listed[anchor] = order, anchor, file, build
    return {anchor: build for _, anchor, _, build in sorted(listed.values(), key=lambda entry: entry[:2])}


ONE_TRAINING = "Where a training stands between two models, one of each says nothing of chance: no interval."
MEANS = (
    "Where a training stands between two models, points are means over seeds (top-1 is of one) and p is that of a "
    "t-test."
)
MODELS: dict[str, Column] = {
    "Model": "model",
    "Top-1 % (95 %)": accuracy,
    "Points to baseline (95 %)": ("difference", difference),
    "p": p_of("p"),
    "p (Holm)": p_of("holm_p"),
    "Points to control (95 %)": ("to_control", difference),
    "MiB": ("size_mib", mebibytes),
    "Smaller": ("times_smaller", times),
    "Parameters": ("parameters", short),
    "Non-zero": ("nonzero_weights", short),
    "MACs": ("macs", short),
    "ECE, %": ("calibration_error_pct", 1),
}


def intervals(data: Tables) -> str:
    """What the intervals and p of a table with differences are."""
    trained = MEANS if data.replicates else ONE_TRAINING
    return f"interval of the single comparison. {NS} p: McNemar's test over images. {trained}"


def models_table(data: Tables, rows: pd.DataFrame) -> Table:
    """Some models, with all of their numbers."""
    return Table.of(rows, MODELS, f"95 %: {intervals(data)} ECE: expected calibration error.")


def lead(data: Tables, rows: pd.DataFrame) -> Paragraph:
    """What the smallest good model of a family brings."""
    return Paragraph(of_models(rows, data), strong=True)


def models_part(data: Tables, rows: pd.DataFrame) -> list[Block]:
    """The same sentence, and the models in a table; nothing without models."""
    return [] if rows.empty else [lead(data, rows), models_table(data, rows)]


def _written(row: pd.Series, column: Column) -> str:
    if isinstance(column, str):
        return str(row[column])
    if isinstance(column, tuple):
        name, write = column
        return write(row[name]) if callable(write) else number(row[name], write)
    return column(row)
