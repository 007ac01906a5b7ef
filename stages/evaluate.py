"""Measure every model of the plan on the held-out images: two tables and the headline numbers."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from deepcompress import files, params, runtime
from deepcompress.errors import one_line_errors
from deepcompress.measure.evaluation import evaluate, planned_models
from deepcompress.measure.headline import headline
from deepcompress.measure.settings import Evaluate


@click.command()
@click.option("--plan", type=Path, required=True, help="the ids of the models to measure")
@click.option("--heldout", type=Path, required=True, help="folder of the held-out images")
@click.option("--models", type=Path, required=True, help="folder of the models, <id>.safetensors each")
@click.option("--evaluation", type=Path, required=True, help="table to write: a row per model")
@click.option("--per-class", type=Path, required=True, help="table to write: a row per model and class")
@click.option("--headline", type=Path, required=True, help="JSON to write: the numbers for `dvc metrics`")
@one_line_errors
def main(plan: Path, heldout: Path, models: Path, **tables: Path) -> None:
    """Measure every model of the plan on the held-out images."""
    import pandas as pd

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings, train = params.section(Evaluate, "evaluate"), params.section(runtime.Train, "train")
    runtime.make_deterministic(params.seed())
    rows, per_class = evaluate(planned_models(plan, models), heldout, settings, runtime.device(train))
    files.write_csv(tables["evaluation"], pd.DataFrame(rows))
    files.write_csv(tables["per_class"], pd.DataFrame(per_class))
    files.write_json(tables["headline"], headline(rows))


if __name__ == "__main__":
    main()
