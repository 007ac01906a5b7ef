"""What a section shows, by kind of block."""

from collections.abc import Iterable

from deepcompress.report.text import Block, Fold, Paragraph, Picture, Section, Table, flat


def tables_of(part: Section | Iterable[Block] | None) -> list[Table]:
    """The tables, folded ones, too, in order."""
    return [block for block in _all(part) if isinstance(block, Table)]


def pictures_of(part: Section | Iterable[Block] | None) -> list[Picture]:
    """The figures, in order."""
    return [block for block in _all(part) if isinstance(block, Picture)]


def text_of(part: Section | Iterable[Block] | None) -> list[str]:
    """The words of the paragraphs, in order."""
    return [block.text for block in _all(part) if isinstance(block, Paragraph)]


def folded(part: Section | None, key: str) -> tuple[Block, ...]:
    """What a fold of a section holds."""
    (found,) = [block for block in _all(part) if isinstance(block, Fold) and block.key == key]
    return found.blocks


def column(picture: Picture, name: str, panel: int = 0) -> list[object]:
    """The values of a column that a picture draws, each once, in order."""
    return list(dict.fromkeys(row[name] for row in picture.panels[panel]["data"]["values"]))


def _all(part: Section | Iterable[Block] | None) -> list[Block]:
    assert part is not None
    return list(flat(part.blocks if isinstance(part, Section) else part))
