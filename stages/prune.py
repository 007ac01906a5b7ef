"""Stages `prune` (the model to ship), `prune_sweep` and `combine_prune`: prune a model, fine-tune, write the tables."""

from pathlib import Path

import click

from deepcompress import errors, files, params
from deepcompress.models import checkpoint
from deepcompress.pruning import layers, masks, prune, sensitivity, settings
from deepcompress.training import loop, run


@click.command(cls=errors.Command)
@click.option("--fit", type=Path, required=True, help="folder of training and validation images")
@click.option("--source", type=Path, required=True, help="dense model to prune")
@click.option("--curves", type=Path, help="table of the sensitivity stage, for allocations that read it")
@click.option("--link", help="key of a link of a chain, whose values stand in place of those of prune")
@click.option("--method", type=click.Choice(["unstructured", "structured"]), help="in place of prune.method")
@click.option("--sparsity", type=click.FloatRange(0, 1, max_open=True), help="in place of prune.sparsity")
@click.option("--model", "models", type=(str, Path), multiple=True, help="masked, start or trained, and its file")
@click.option("--table", "tables", type=(str, Path), multiple=True, help="name of a table, and the file to write")
def main(fit: Path, source: Path, curves: Path, link: str, models: list, tables: list, **instead: object) -> None:
    """Prune by the method's criterion and allocation, then train as `prune.finetune` says."""
    start, how = checkpoint.load(source), params.section(settings.Prune, "prune", link=link).override(**instead)
    fabric, made = run.start("prune", {"prune": how.provenance_params()})
    dense = layers.require_dense(start.model, str(source), narrow=how.method == "unstructured").to(fabric.device)
    seed, loss = params.seed(), loop.CrossEntropy(how.finetune.label_smoothing)
    with run.TrainingRun(fit, start.view, params.device_budget_mib()) as training:
        known = sensitivity.curves(files.read_rows(curves) if curves else ())
        forms = prune.prune(dense, training.images, how, view=start.view, seed=seed, curves=known)
        past = training.train(forms.trained, loss, how.finetune, fabric=fabric, provenance=made, after_step=forms.hold)
        for form, path in models:
            start.save_alike(path, getattr(forms, form), made, masks.encodings(getattr(forms, form)))
        files.write_tables(tables, {"history": past.rows(), **prune.tables(dense, forms)})


if __name__ == "__main__":
    main()
