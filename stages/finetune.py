"""Stages `finetune` and `quantize_baseline` (from scratch or from pretrained weights), `prune_control` (trains on)."""

from pathlib import Path

import click

from deepcompress import files, params
from deepcompress.errors import Command
from deepcompress.models import checkpoint, spec
from deepcompress.training import loop, recipe, run


@click.command(cls=Command)
@click.option("--fit", type=Path, required=True, help="folder of training and validation images")
@click.option("--source", type=Path, help="model to train on; None: the network of the section `model`")
@click.option("--recipe", "key", default="finetune", help="key of the recipe in params.yaml")
@click.option("--model", "model_file", type=Path, required=True, help="file to write")
@click.option("--history", type=Path, required=True, help="table to write: a row per epoch")
def main(fit: Path, source: Path | None, key: str, model_file: Path, history: Path) -> None:
    """Write the model with the weights to keep, and what each epoch came to."""
    shape, how = params.section(spec.Model, "model"), params.section(recipe.Recipe, key)
    fabric, made = run.start("finetune", {"model": shape.model_dump(), key: how.model_dump()})
    with run.TrainingRun.of_size(fit, shape.image_size, params.device_budget_mib()) as training:
        classes = training.images.meta.classes
        model = checkpoint.load(source).model if source else run.network(shape, len(classes), "model")
        epochs = training.train(model, loop.CrossEntropy(how.label_smoothing), how, fabric=fabric, provenance=made)
        checkpoint.save(model_file, model, view=training.view, classes=classes, provenance=made)
        files.write_csv(history, epochs.frame())


if __name__ == "__main__":
    main()
