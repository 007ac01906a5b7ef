"""A contract over all sections of the page."""

from __future__ import annotations

import dataclasses

import pytest

from deepcompress.report import page, queries, tables
from deepcompress.report.blocks import Table
from deepcompress.report.tables import Tables

SECTIONS = page.builders()
ALWAYS = {"overview", "baseline", "training", "classes", "provenance"}  # even of a baseline alone


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_has_a_title_and_whole_tables(name: str, data: Tables) -> None:
    section = SECTIONS[name](data)
    assert section is not None
    assert section.title
    assert section.blocks
    for table in (block for block in section.blocks if isinstance(block, Table)):
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert all(isinstance(cell, str) and "nan" not in cell for row in table.rows for cell in row)


@pytest.mark.parametrize("name", sorted({*SECTIONS} - ALWAYS))
def test_a_technique_without_models_has_no_section(name: str, alone: Tables) -> None:
    assert SECTIONS[name](alone) is None


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_can_do_without_comparisons(name: str, data: Tables) -> None:
    models = data.models.copy()
    kept = (*tables.PLAN_COLUMNS, queries.OWN, queries.TOTAL)
    models[[column for column in tables.OPTIONAL_COLUMNS if column not in kept]] = float("nan")
    section = SECTIONS[name](dataclasses.replace(data, models=models))
    assert section is not None
    assert section.blocks


def test_picture_names_are_unique(data: Tables) -> None:
    pictures = [picture.name for section in page.sections(data).values() for picture in section.pictures]
    assert len(pictures) == len(set(pictures))
