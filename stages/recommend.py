"""Stage `recommend`: the recommended model, chosen on validation images, and the front that it stands in."""

from pathlib import Path

import click

from deepcompress import errors, files, params, runtime
from deepcompress.deploy import recommend
from deepcompress.deploy.settings import Deploy
from deepcompress.measure.settings import Evaluate
from deepcompress.plan_table import Plan


@click.command(cls=errors.Command)
@click.option("--plan", "plan_file", type=Path, required=True, help="the table of the models to choose from")
@click.option("--fit", "folder", type=Path, required=True, help="folder whose validation images are looked at")
@click.option("--models", type=Path, required=True, help="folder of the models, <id>.safetensors each")
@click.option("--table", type=Path, required=True, help="table to write: a row per candidate")
@click.option("--recommendation", type=Path, required=True, help="JSON to write: the model, and why")
def main(plan_file: Path, folder: Path, models: Path, table: Path, recommendation: Path) -> None:
    """Measure every candidate on validation images and choose."""
    limits, train = params.section(Deploy, "deploy"), params.section(runtime.Train, "train")
    device = runtime.start(train, params.seed(), trains=False).device
    plan, timed = Plan.read(plan_file), limits.max_latency_ms is not None
    size, budget = params.section(Evaluate, "evaluate").batch_size, params.device_budget_mib()
    candidates = recommend.measure(
        plan, plan.paths(models), folder, batch_size=size, device=device, timed=timed, budget_mib=budget
    )
    chosen = recommend.recommendation(candidates, limits, recommend.most_of_a_class(folder))
    files.write_csv(table, recommend.rows(candidates, limits))
    files.write_json(recommendation, chosen)
    click.echo(chosen["reason"])


if __name__ == "__main__":
    main()
