"""Stage `recommend`: the model to hand over, chosen on validation images, and the front that it stands in."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from deepcompress import errors, files, params, runtime
from deepcompress.deploy import candidates, recommend
from deepcompress.deploy.settings import Deploy
from deepcompress.measure.settings import Evaluate
from deepcompress.plan_table import Plan


@click.command()
@click.option("--plan", "plan_file", type=Path, required=True, help="the table of the models to choose from")
@click.option("--fit", "folder", type=Path, required=True, help="folder whose validation images are looked at")
@click.option("--models", type=Path, required=True, help="folder of the models, <id>.safetensors each")
@click.option("--table", type=Path, required=True, help="table to write: a row per candidate")
@click.option("--recommendation", type=Path, required=True, help="JSON to write: the model, and why")
@errors.one_line_errors
def main(plan_file: Path, folder: Path, models: Path, table: Path, recommendation: Path) -> None:
    """Measure every candidate on validation images and choose."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    limits, train = params.section(Deploy, "deploy"), params.section(runtime.Train, "train")
    size, timed = params.section(Evaluate, "evaluate").batch_size, limits.max_latency_ms is not None
    runtime.make_deterministic(params.seed(), train.threads)
    planned, device = Plan.read(plan_file).paths(models), runtime.device(train)
    budget = params.device_budget_mib()
    found = candidates.measure(planned, folder, batch_size=size, device=device, timed=timed, budget_mib=budget)
    made = recommend.recommendation(found, limits)
    files.write_tables([("recommendation", table)], {"recommendation": recommend.rows(found, limits)})
    files.write_json(recommendation, made)
    click.echo(made["reason"])


if __name__ == "__main__":
    main()
