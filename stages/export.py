"""Stage `export`: the recommended model and your configuration as ONNX files that agree with their checkpoints."""

import logging
from pathlib import Path

import click

from deepcompress import files, params, runtime
from deepcompress.deploy import export
from deepcompress.deploy.settings import Deploy
from deepcompress.errors import Command


@click.command(cls=Command)
@click.option("--recommendation", type=Path, required=True, help="JSON: the id of the recommended model, and why")
@click.option("--models", type=Path, required=True, help="folder of the models, <id>.safetensors each")
@click.option("--fit", type=Path, required=True, help="folder whose training images int8 is calibrated on")
@click.option(
    "--heldout", type=Path, required=True, help="folder of the images on which files and checkpoints must agree"
)
@click.option("--evaluation", type=Path, required=True, help="table of the measured models, for the model card")
@click.option("--folder", type=Path, required=True, help="folder to write: ONNX files, classes and model card")
@click.option("--parity", "parity_file", type=Path, required=True, help="table to write: a row per ONNX file")
def main(folder: Path, parity_file: Path, **inputs: Path) -> None:
    """Write the folder to deploy, and how closely its files follow their checkpoints."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    seed = params.seed()
    runtime.make_deterministic(seed)
    rows = export.export(folder, params.section(Deploy, "deploy"), seed, **inputs)
    files.write_csv(parity_file, rows)


if __name__ == "__main__":
    main()
