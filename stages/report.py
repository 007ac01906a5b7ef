"""Make the report: plots/ for DVC, one HTML page, and the results that the README shows."""

from pathlib import Path
from typing import Any

import click

from deepcompress import files
from deepcompress.errors import Command


@click.command(cls=Command)
@click.option("--evaluation", type=Path, required=True, help="table: a row per model")
@click.option("--per-class", type=Path, required=True, help="table: a row per model and class")
@click.option("--pairs", type=Path, help="table: a row per model and reference other than the baseline")
@click.option("--replicates", type=Path, help="table: a row per seed, model and reference; may be missing")
@click.option("--headline", type=Path, required=True, help="JSON: the numbers for `dvc metrics`")
@click.option("--history", type=Path, required=True, help="folder of training histories, <id>.csv each")
@click.option("--meta", type=Path, required=True, help="JSON: what the training images are")
@click.option("--extra", type=Path, multiple=True, help="a further table, or a folder of them; may be given again")
@click.option("--plots", "plots_folder", type=Path, required=True, help="folder to write: CSV and PNG")
@click.option("--page", "page_file", type=Path, required=True, help="HTML file to write")
@click.option("--readme", "readme_file", type=Path, help="file to update between its result markers")
def main(plots_folder: Path, page_file: Path, readme_file: Path | None, **inputs: Any) -> None:
    """Make plots, page and README block from the tables that earlier stages measured."""
    from deepcompress.report import page, tables

    data = tables.read(tables.Paths(**inputs))
    updated = page.updated_readme(readme_file, data) if readme_file else None
    sections = page.sections(data)
    page.write_plots(plots_folder, data, sections.values())
    files.write_text(page_file, page.render(sections, data))
    if readme_file and updated:
        files.write_text(readme_file, updated)


if __name__ == "__main__":
    main()
