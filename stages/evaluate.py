"""Measure every model of the plan on held-out images, and say what it cost to make: three tables, headline numbers."""

import logging
from pathlib import Path
from typing import Any

import click

from deepcompress import files, params, runtime
from deepcompress.errors import one_line_errors
from deepcompress.measure import evaluation, explained, headline, planned, training_cost
from deepcompress.measure.settings import Evaluate


@click.command()
@click.option("--plan", type=Path, required=True, help="the ids of the models to measure")
@click.option("--heldout", type=Path, required=True, help="folder of the held-out images")
@click.option("--models", type=Path, required=True, help="folder of the models, <id>.safetensors each")
@click.option("--history", type=Path, required=True, help="folder of a table per training, with a row per epoch")
@click.option("--explained", "seen", type=Path, help="folder of explain's tables; None leaves their columns out")
@click.option("--table", "tables", type=(str, Path), multiple=True, help="evaluation, per_class or pairs, and its file")
@click.option("--headline", "headline_file", type=Path, required=True, help="JSON to write, for `dvc metrics`")
@one_line_errors
def main(plan: Path, heldout: Path, models: Path, history: Path, seen: Path | None, **written: Any) -> None:
    """Measure every model of the plan on the held-out images."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings, train = params.section(Evaluate, "evaluate"), params.section(runtime.Train, "train")
    runtime.make_deterministic(params.seed(), train.threads)
    files_of, device = planned.planned_models(plan, models), runtime.device(train)
    trained = training_cost.read(history, files_of, params.read(), heldout)
    rows = evaluation.evaluate(files_of, planned.planned_pairs(plan), heldout, settings, device)
    rows["evaluation"] = training_cost.joined(rows["evaluation"], trained)
    rows["evaluation"] = explained.joined(rows["evaluation"], seen) if seen else rows["evaluation"]
    files.write_tables(written["tables"], rows)
    files.write_json(written["headline_file"], headline.headline(rows["evaluation"]))


if __name__ == "__main__":
    main()
