"""The report stage as a command: everything written, or one clear line and nothing half-written."""

from pathlib import Path

import pytest
from click.testing import Result

from deepcompress.report import page
from stages import report
from tests.report import made_up
from tests.stages.commands import contents, invoke, refused, well


@pytest.fixture
def folder(inside: Path) -> Path:
    made_up.write(inside, made_up.BASELINE)
    (inside / "README.md").write_text(f"# x\n{page.BEGIN}\n{page.END}\n")
    return inside


ARGUMENTS = [
    *("--evaluation", "evaluation.csv", "--per-class", "per_class.csv", "--headline", "headline.json"),
    *("--history", "history", "--meta", "meta.json", "--plots", "plots", "--page", "report.html"),
]


def run() -> Result:
    return invoke(report.main, *ARGUMENTS, readme="README.md")


def test_plots_page_and_readme_are_written_and_a_second_run_changes_no_byte(folder: Path) -> None:
    well(run())
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    assert (folder / "plots" / "models.csv").is_file()
    assert "87.3 (85.1 to 89.2)" in (folder / "README.md").read_text()
    before = contents(folder)
    well(run())
    assert contents(folder) == before


def test_a_readme_without_markers_stops_before_anything_is_written(folder: Path) -> None:
    (folder / "README.md").write_text("no markers")
    refused(run(), "README.md: needs the lines")
    assert not (folder / "report.html").exists()
    assert not (folder / "plots").exists()
