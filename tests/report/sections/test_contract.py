"""A contract over all sections of the page."""

import dataclasses

import pytest

from deepcompress.errors import UserError
from deepcompress.report import page, queries, tables, text
from deepcompress.report.tables import Tables
from tests.report import made_up
from tests.report.sections.looking import tables_of

SECTIONS = text.builders()
ALWAYS = {"details"}  # even of a baseline alone


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_has_a_title_and_whole_tables(name: str, data: Tables) -> None:
    section = SECTIONS[name](data)
    assert section is not None
    assert section.title
    assert section.blocks
    for table in tables_of(section):
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert all(isinstance(cell, str) and "nan" not in cell for row in table.rows for cell in row)


@pytest.mark.parametrize("name", sorted({*SECTIONS} - ALWAYS))
def test_a_technique_without_models_has_no_section(name: str, alone: Tables) -> None:
    assert SECTIONS[name](alone) is None


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_can_do_without_comparisons(name: str, data: Tables) -> None:
    models = data.models.copy()
    kept = (*tables.PLAN_COLUMNS, *tables.DIFFERENCES, queries.OWN, queries.TOTAL)
    models[[column for column in tables.OPTIONAL_COLUMNS if column not in kept]] = float("nan")
    bare = made_up.with_differences(dataclasses.replace(data, models=models, differences={}), {})
    section = SECTIONS[name](bare)
    assert section is not None
    assert section.blocks


def test_names_of_parts_and_pictures_are_unique(data: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    sections = page.sections(data)
    parts = [*sections, *(key for section in sections.values() for key in section.keys)]
    assert len(parts) == len(set(parts))
    monkeypatch.setattr(text, "builders", lambda: {**SECTIONS, "copy": SECTIONS["ship"]})
    with pytest.raises(UserError, match=r"^the report's sections ship and copy both have a picture "):
        page.sections(data)
