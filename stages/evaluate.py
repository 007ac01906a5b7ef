"""Measure every model of the plan on the held-out images: three tables and the headline numbers."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from deepcompress import files, params, runtime
from deepcompress.errors import one_line_errors
from deepcompress.measure.evaluation import evaluate
from deepcompress.measure.headline import headline
from deepcompress.measure.planned import planned_models, planned_pairs
from deepcompress.measure.settings import Evaluate


@click.command()
@click.option("--plan", type=Path, required=True, help="the ids of the models to measure")
@click.option("--heldout", type=Path, required=True, help="folder of the held-out images")
@click.option("--models", type=Path, required=True, help="folder of the models, <id>.safetensors each")
@click.option("--table", "tables", type=(str, Path), multiple=True, help="evaluation, per_class or pairs, and its file")
@click.option("--headline", "headline_file", type=Path, required=True, help="JSON to write, for `dvc metrics`")
@one_line_errors
def main(plan: Path, heldout: Path, models: Path, tables: tuple[tuple[str, Path], ...], headline_file: Path) -> None:
    """Measure every model of the plan on the held-out images."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings, train = params.section(Evaluate, "evaluate"), params.section(runtime.Train, "train")
    runtime.make_deterministic(params.seed(), train.threads)
    files_of, device = planned_models(plan, models), runtime.device(train)
    rows = evaluate(files_of, planned_pairs(plan), heldout, settings, device)
    files.write_tables(tables, rows)
    files.write_json(headline_file, headline(rows["evaluation"]))


if __name__ == "__main__":
    main()
