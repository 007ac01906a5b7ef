"""Stages `combine@<name>`: the baseline through several techniques, one after the other."""

from pathlib import Path
from typing import Any

import click

from deepcompress import files, params, processes, runtime
from deepcompress.combine import settings, work
from deepcompress.errors import one_line_errors
from deepcompress.models import checkpoint
from deepcompress.training.run import Data


@click.command()
@click.option("--name", required=True, help="name in combine.models")
@click.option("--fit", type=Path, required=True, help="folder of training and validation images")
@click.option("--source", type=Path, required=True, help="dense baseline")
@click.option("--curves", type=Path, required=True, help="table of the sensitivity stage, for prune.method")
@click.option("--teacher", type=Path, required=True, help="file of the model that teaches")
@click.option("--model", "model_file", type=Path, required=True, help="file to write")
@click.option("--history", type=Path, required=True, help="table to write: a row per epoch of all steps")
@one_line_errors
def main(name: str, fit: Path, source: Path, model_file: Path, history: Path, **evidence: Any) -> None:
    """Write the model that the steps make, and what each epoch came to."""
    seed, train, how = params.seed(), params.section(runtime.Train, "train"), settings.Sections.read()
    used = {"train": train.model_dump(), "combine": how.used(name)}
    origin = checkpoint.provenance("combine", seed=seed, params=used)
    fabric, start = runtime.start(train, seed), checkpoint.load(source)
    room = work.Room(Data(fit, start.view, params.device_budget_mib()), how, fabric, origin, **evidence)
    made = work.run(start, how.combine.steps(name), room)
    processes.first_only()
    start.save_alike(model_file, made.source.model, origin, made.encodings)
    files.write_csv(history, work.History(list(made.history)).frame())
    room.forget()


if __name__ == "__main__":
    main()
