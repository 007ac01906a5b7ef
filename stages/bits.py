"""Stage `bits`: what rounding after training costs at every width from 2 to 8 bits, and the trend of it."""

from pathlib import Path

import click

from deepcompress import files, params, runtime
from deepcompress.errors import Command
from deepcompress.models import checkpoint
from deepcompress.quantization import bit_sweep, settings
from deepcompress.training.run import TrainingRun


@click.command(cls=Command)
@click.option("--fit", type=Path, required=True, help="folder of training and validation images")
@click.option("--source", type=Path, required=True, help="model to round")
@click.option("--points", type=Path, required=True, help="table to write: a row per width and granularity")
@click.option("--trends", type=Path, required=True, help="table to write: a row per cost and granularity")
def main(fit: Path, source: Path, points: Path, trends: Path) -> None:
    """Round the model to every width and measure it on validation images; nothing is trained."""
    seed, train = params.seed(), params.section(runtime.Train, "train")
    quant = params.section(settings.Quant, "quant")
    fabric, start = runtime.start(train, seed, trains=False), checkpoint.load(source)
    data = TrainingRun(fit, start.view, params.device_budget_mib())
    rows = bit_sweep.measure(start.model.to(fabric.device), data, quant, seed=seed)
    lines = bit_sweep.trends(rows)
    files.write_csv(points, rows)
    files.write_csv(trends, lines)


if __name__ == "__main__":
    main()
