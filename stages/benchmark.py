"""Time models on this machine, and record how long each stage took: no other stage's result depends on it."""

from pathlib import Path

import click

from deepcompress import files, params, progress, runtime
from deepcompress.deploy import benchmark
from deepcompress.deploy.settings import Benchmark, Deploy
from deepcompress.errors import Command
from deepcompress.plan_table import Plan


@click.command(cls=Command)
@click.option("--plan", "plan_file", type=Path, required=True, help="the table of the models")
@click.option("--fit", type=Path, required=True, help="folder of images to time with")
@click.option("--models", type=Path, required=True, help="folder of the models, <id>.safetensors each")
@click.option("--folder", type=Path, required=True, help="folder to write: latency.csv, stages.csv, machine.json")
def main(plan_file: Path, fit: Path, models: Path, folder: Path) -> None:
    """Write what each model takes in each engine, the machine, and the seconds of the stages that ran here."""
    settings, deploy = params.section(Benchmark, "benchmark"), params.section(Deploy, "deploy")
    seed = params.seed()
    runtime.make_deterministic(seed)
    planned = Plan.read(plan_file).paths(models)
    chosen = {model: planned[model] for model in settings.models or planned}
    rows = benchmark.latencies(chosen, fit, settings, deploy, seed=seed)
    files.write_csv(folder / "latency.csv", rows)
    files.write_json(folder / "machine.json", benchmark.machine(settings))
    files.write_csv(folder / "stages.csv", progress.noted(), columns=["stage", "seconds"])


if __name__ == "__main__":
    main()
