"""What a section of the report consists of: paragraphs, pictures and tables, in order, free of any HTML."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcompress.report.text import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.figure import Figure

NUMBER = re.compile(r"([<+−]\s?)?\d[\d,.]*( ?[kMG×])?( \(.*\))?|–")


@dataclass(frozen=True)
class Paragraph:
    """A sentence or two; `strong` marks the one that the reader should take away."""

    text: str
    strong: bool = False


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure. Its name is unique in the report and becomes the file `plots/figures/<name>.png`."""

    name: str
    figure: Figure
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """Written cells under written headings; folded away behind the words of `folded` when these are given.

    With `links`, the first cell of each row leads to a section of the page, by its key in page.builders().
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    folded: str = ""
    links: tuple[str, ...] = ()

    @classmethod
    def of(cls, columns: Mapping[str, Sequence[str]], caption: str = "", folded: str = "") -> Table:
        """A table of columns by heading; those without any value are left out."""
        shown = {head: cells for head, cells in columns.items() if set(cells) != {MISSING}}
        return cls(tuple(shown), tuple(zip(*shown.values(), strict=True)), caption, folded)

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For each column whether all of its cells are numbers, so that it is set flush right."""
        columns = zip(*self.rows, strict=True) if self.rows else ((),) * len(self.columns)
        return tuple(all(NUMBER.fullmatch(cell) for cell in column) for column in columns)


Block = Paragraph | Picture | Table


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the page."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def pictures(self) -> Iterable[Picture]:
        """The figures among the blocks."""
        return (block for block in self.blocks if isinstance(block, Picture))
