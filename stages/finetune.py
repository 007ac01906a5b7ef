"""Stages `finetune` (the baseline, from scratch or from pretrained weights) and `prune_control` (the baseline, on)."""

from pathlib import Path

import click

from deepcompress import files, params, processes, runtime
from deepcompress.data import batches, store
from deepcompress.errors import one_line_errors
from deepcompress.models import checkpoint, spec
from deepcompress.training import objective, recipe, run, start


@click.command()
@click.option("--fit", type=Path, required=True, help="folder of training and validation images")
@click.option("--source", type=Path, help="model to train on; None: the network of the section `model`")
@click.option("--recipe", "key", default="finetune", help="key of the recipe in params.yaml")
@click.option("--model", "model_file", type=Path, required=True, help="file to write")
@click.option("--history", type=Path, required=True, help="table to write: a row per epoch")
@one_line_errors
def main(fit: Path, source: Path | None, key: str, model_file: Path, history: Path) -> None:
    """Write the model with the weights to keep, and what each epoch came to."""
    seed, train = params.seed(), params.section(runtime.Train, "train")
    shape, how = params.section(spec.Model, "model"), params.section(recipe.Recipe, key)
    images, fabric = store.open_fit(fit), runtime.start(train, seed)
    model = checkpoint.load(source).model if source else start.network(shape, len(images.meta.classes))
    view = batches.View(shape.image_size, images.meta.mean, images.meta.std)
    used = {"train": train, "model": shape, key: how}
    origin = checkpoint.provenance("finetune", seed=seed, params={k: v.model_dump() for k, v in used.items()})
    loss, data = objective.CrossEntropy(how.label_smoothing), run.Data(fit, view, params.device_budget_mib())
    record = run.run(model, loss, data, how, fabric=fabric, origin=origin)
    processes.first_only()
    checkpoint.save(model_file, model, view=view, classes=images.meta.classes, provenance=origin)
    files.write_csv(history, record.frame())
    data.forget()


if __name__ == "__main__":
    main()
