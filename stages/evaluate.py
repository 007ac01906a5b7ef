"""Measure every model of the plan on held-out images, and say what it cost to make: four tables, headline numbers."""

from pathlib import Path
from typing import Any

import click

from deepcompress import files, params, runtime
from deepcompress.errors import Command
from deepcompress.measure import cost, evaluate
from deepcompress.measure.settings import Evaluate
from deepcompress.plan_table import Plan


@click.command(cls=Command)
@click.option("--plan", "plan_file", type=Path, required=True, help="the table of the models to measure")
@click.option("--heldout", type=Path, required=True, help="folder of the held-out images")
@click.option("--models", type=Path, required=True, help="folder of the models, <id>.safetensors each")
@click.option("--history", type=Path, required=True, help="folder of a table per training, with a row per epoch")
@click.option("--explained", "seen", type=Path, help="folder of explain's tables; None leaves their columns out")
@click.option("--table", "tables", type=(str, Path), multiple=True, help="evaluation, per_class or pairs, and its file")
@click.option("--outcomes", type=Path, required=True, help="JSON to write: which images each model got right")
@click.option("--headline", "headline_file", type=Path, required=True, help="JSON to write, for `dvc metrics`")
def main(plan_file: Path, heldout: Path, models: Path, history: Path, **options: Any) -> None:
    """Measure every model."""
    settings, train = params.section(Evaluate, "evaluate"), params.section(runtime.Train, "train")
    device = runtime.start(train, params.seed(), trains=False).device
    paths = (plan := Plan.read(plan_file)).paths(models)
    images, epochs = cost.read_trainings(history, plan, heldout)
    rows, right = evaluate.evaluate(paths, plan.pairs(), heldout, settings, device, params.device_budget_mib())
    costed = cost.with_training_cost(rows["evaluation"], plan, params.read(), images, epochs)
    seen = options["seen"]
    rows["evaluation"] = plan.joined(evaluate.with_explained(costed, seen, plan) if seen else costed)
    files.write_tables(options["tables"], rows)
    files.write_json(options["outcomes"], right)
    files.write_json(options["headline_file"], evaluate.headline(rows["evaluation"], rows["pairs"], plan))


if __name__ == "__main__":
    main()
