"""Measure every model of the plan on the held-out images: three tables and the headline numbers."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from deepcompress import files, params, runtime
from deepcompress.errors import one_line_errors
from deepcompress.measure import evaluation, explained, headline, planned
from deepcompress.measure.settings import Evaluate

Tables = tuple[tuple[str, Path], ...]


@click.command()
@click.option("--plan", type=Path, required=True, help="the ids of the models to measure")
@click.option("--heldout", type=Path, required=True, help="folder of the held-out images")
@click.option("--models", type=Path, required=True, help="folder of the models, <id>.safetensors each")
@click.option("--explained", "seen", type=Path, help="folder of explain's tables; None leaves their columns out")
@click.option("--table", "tables", type=(str, Path), multiple=True, help="evaluation, per_class or pairs, and its file")
@click.option("--headline", "headline_file", type=Path, required=True, help="JSON to write, for `dvc metrics`")
@one_line_errors
def main(plan: Path, heldout: Path, models: Path, seen: Path | None, tables: Tables, headline_file: Path) -> None:
    """Measure every model of the plan on the held-out images."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings, train = params.section(Evaluate, "evaluate"), params.section(runtime.Train, "train")
    runtime.make_deterministic(params.seed(), train.threads)
    files_of, device = planned.planned_models(plan, models), runtime.device(train)
    rows = evaluation.evaluate(files_of, planned.planned_pairs(plan), heldout, settings, device)
    rows["evaluation"] = explained.joined(rows["evaluation"], seen) if seen else rows["evaluation"]
    files.write_tables(tables, rows)
    files.write_json(headline_file, headline.headline(rows["evaluation"]))


if __name__ == "__main__":
    main()
