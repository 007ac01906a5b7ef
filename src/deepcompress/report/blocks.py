"""What a section of the report consists of: paragraphs, pictures, tables and folds, in order, free of any HTML."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepcompress.report.text import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

NUMBER = re.compile(r"([<+−]\s?)?\d[\d,.]*( ?[kMG×])?( \(.*\))?|–")


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
    def of(cls, columns: Mapping[str, Sequence[str]], caption: str = "", folded: str = "") -> Table:
        """A table of columns by heading; those without any value are left out."""
        shown = {head: cells for head, cells in columns.items() if set(cells) != {MISSING}}
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
    def pictures(self) -> Iterator[Picture]:
        """The figures among the blocks, folded ones, too."""
        return (block for block in flat(self.blocks) if isinstance(block, Picture))

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
