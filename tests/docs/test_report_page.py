"""The page on the report tells of each section in its order, and of the columns that tables of models share."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deepcompress.report import page, tables, text
from deepcompress.report.tables import Tables
from tests.docs import pages
from tests.report import made_up

TEXT = (pages.DOCS / "reading-the-report.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return tables.read(made_up.write(Path(tmp_path_factory.mktemp("report"))))


def test_every_section_of_the_report_is_told_of_in_its_order(data: Tables) -> None:
    titles = [section.title for section in page.sections(data).values()]
    assert re.findall(r"^### (.+)$", TEXT, flags=re.MULTILINE) == titles


def test_every_shared_column_is_explained(data: Tables) -> None:
    shared = TEXT.partition("## Columns")[2].partition("## ")[0]
    explained = {name for cell in re.findall(r"^\| ([^|]+) \|", shared, flags=re.MULTILINE) for name in _names(cell)}
    assert set(text.models_table(data.models).columns) <= explained


def _names(cell: str) -> list[str]:
    return [cell, *cell.split(", ")]
