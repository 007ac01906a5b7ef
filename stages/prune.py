"""Stages `prune` (the model to ship) and `prune_sweep`: prune the baseline, train on, write what became of it."""

from pathlib import Path
from typing import Any

import click

from deepcompress import errors, files, params, processes, runtime
from deepcompress.models import checkpoint
from deepcompress.pruning import layers, masks, prune, sensitivity, settings
from deepcompress.training import objective, run


@click.command()
@click.option("--fit", type=Path, required=True, help="folder of training and validation images")
@click.option("--source", type=Path, required=True, help="dense model to prune")
@click.option("--curves", "csv", type=Path, required=True, help="table of the sensitivity stage")
@click.option("--method", type=click.Choice(["unstructured", "structured"]), help="in place of prune.method")
@click.option("--sparsity", type=click.FloatRange(0, 1, max_open=True), help="in place of prune.sparsity")
@click.option("--model", "models", type=(str, Path), multiple=True, help="masked or trained, and the file to write")
@click.option("--table", "tables", type=(str, Path), multiple=True, help="name of a table, and the file to write")
@errors.one_line_errors
def main(fit: Path, source: Path, csv: Path, models: list[Any], tables: list[Any], **instead: Any) -> None:
    """Prune by the method's criterion and allocation, then train as `prune.finetune` says."""
    seed, train, known = params.seed(), params.section(runtime.Train, "train"), sensitivity.curves(files.read_rows(csv))
    how, start = params.section(settings.Prune, "prune").instead(**instead), checkpoint.load(source)
    fabric, loss = runtime.start(train, seed), objective.CrossEntropy(how.finetune.label_smoothing)
    dense, data = layers.require_dense(start.model, str(source)), run.Data(fit, start.view, params.device_budget_mib())
    made = prune.prune(dense.to(fabric.device), data.images, how, view=data.view, seed=seed, curves=known)
    origin = checkpoint.provenance("prune", seed=seed, params={"train": train.model_dump(), "prune": how.used()})
    record = run.run(made.trained, loss, data, how.finetune, fabric=fabric, origin=origin, after_step=made.after_step())
    processes.first_only()
    for state, path in models:
        start.save_alike(path, getattr(made, state), origin, masks.encodings(getattr(made, state)))
    files.write_tables(tables, {"history": record.rows(), **prune.tables(dense, made)})
    data.forget()


if __name__ == "__main__":
    main()
