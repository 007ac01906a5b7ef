"""What a section shows, by kind of block."""

from __future__ import annotations

from deepcompress.report.blocks import Paragraph, Picture, Section, Table


def tables_of(section: Section | None) -> list[Table]:
    """The tables, in order."""
    assert section is not None
    return [block for block in section.blocks if isinstance(block, Table)]


def pictures_of(section: Section | None) -> list[Picture]:
    """The figures, in order."""
    assert section is not None
    return list(section.pictures)


def text_of(section: Section | None) -> list[str]:
    """The words of the paragraphs, in order."""
    assert section is not None
    return [block.text for block in section.blocks if isinstance(block, Paragraph)]
