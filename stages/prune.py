"""Stages `prune` (the model to ship), `prune_sweep` and `combine_prune`: prune a model, fine-tune, write the tables."""

from pathlib import Path

import click

from deepcompress import errors, files, params, processes, runtime
from deepcompress.models import checkpoint
from deepcompress.pruning import layers, masks, prune, sensitivity, settings
from deepcompress.training import objective, run


@click.command()
@click.option("--fit", type=Path, required=True, help="folder of training and validation images")
@click.option("--source", type=Path, required=True, help="dense model to prune")
@click.option("--curves", type=Path, help="table of the sensitivity stage, for allocations that read it")
@click.option("--link", help="key of a link of a chain, whose values stand in place of those of prune")
@click.option("--method", type=click.Choice(["unstructured", "structured"]), help="in place of prune.method")
@click.option("--sparsity", type=click.FloatRange(0, 1, max_open=True), help="in place of prune.sparsity")
@click.option("--model", "models", type=(str, Path), multiple=True, help="masked, start or trained, and its file")
@click.option("--table", "tables", type=(str, Path), multiple=True, help="name of a table, and the file to write")
@errors.one_line_errors
def main(fit: Path, source: Path, curves: Path, link: str, models: list, tables: list, **instead: object) -> None:
    """Prune by the method's criterion and allocation, then train as `prune.finetune` says."""
    seed, train, start = params.seed(), params.section(runtime.Train, "train"), checkpoint.load(source)
    how = params.section(settings.Prune, "prune", link=link).override(**instead)
    fabric, loss = runtime.start(train, seed), objective.CrossEntropy(how.finetune.label_smoothing)
    data = run.Data(fit, start.view, params.device_budget_mib())
    dense = layers.require_dense(start.model, str(source)).to(fabric.device)
    measured = sensitivity.curves(files.read_rows(curves) if curves else ())
    made = prune.prune(dense, data.images, how, view=data.view, seed=seed, curves=measured)
    used = {"train": train.model_dump(), "prune": how.provenance_params()}
    origin = checkpoint.provenance("prune", seed=seed, params=used)
    record = run.run(made.trained, loss, data, how.finetune, fabric=fabric, origin=origin, after_step=made.after_step())
    processes.first_only()
    for state, path in models:
        start.save_alike(path, getattr(made, state), origin, masks.encodings(getattr(made, state)))
    files.write_tables(tables, {"history": record.rows(), **prune.tables(dense, made)})
    data.forget()


if __name__ == "__main__":
    main()
