"""Stages `quantize` (the model to ship) and `quantize_sweep`: fewer bits per weight, after or in training."""

from pathlib import Path

import click

from deepcompress import files, params, runtime
from deepcompress.errors import Command
from deepcompress.models import checkpoint
from deepcompress.quantization import quantize, settings
from deepcompress.training import run


@click.command(cls=Command)
@click.option("--fit", type=Path, required=True, help="folder of training and validation images")
@click.option("--source", type=Path, required=True, help="model to quantize")
@click.option("--variant", help="<mode>-<format>, in place of quant.mode and quant.bits")
@click.option("--link", help="key of a link of a chain, whose values stand in place of those of quant")
@click.option("--model", "model_file", type=Path, required=True, help="file to write")
@click.option("--history", type=Path, required=True, help="table to write: a row per epoch, none without training")
@click.option("--table", type=Path, required=True, help="table to write: a row of what rounding cost")
def main(fit: Path, source: Path, variant: str, link: str, model_file: Path, history: Path, table: Path) -> None:
    """Write the packed model, what each epoch came to, and a row of what rounding cost."""
    task = settings.task(params.section(settings.Quant, "quant", link=link), variant)
    fabric, provenance = run.start("quantize", {"quantize": task.model_dump()}, trains=task.qat is not None)
    start = checkpoint.load(source)
    with run.TrainingRun(fit, start.view, params.device_budget_mib()) as training:
        rounded, epochs = quantize.quantize_(start, training, task, fabric=fabric, provenance=provenance)
        runtime.first_only()
        start.save_alike(model_file, start.model, provenance, rounded.encodings)
        files.write_csv(history, epochs.frame())
        files.write_csv(table, [rounded.row])


if __name__ == "__main__":
    main()
