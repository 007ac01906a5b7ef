"""Stage `finetune`: train the baseline, from scratch or from pretrained weights, as the recipe says."""

import logging
from pathlib import Path

import click

from deepcompress import files, params, runtime
from deepcompress.data import batches, store
from deepcompress.errors import one_line_errors
from deepcompress.models import checkpoint, spec
from deepcompress.training import frozen, inputs, loop, objective, recipe, resume, start


@click.command()
@click.option("--fit", type=Path, required=True, help="folder of training and validation images")
@click.option("--model", "model_file", type=Path, required=True, help="file to write")
@click.option("--history", type=Path, required=True, help="table to write: a row per epoch")
@one_line_errors
def main(fit: Path, model_file: Path, history: Path) -> None:
    """Write the model with the weights to keep, and what each epoch came to."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    seed, train = params.seed(), params.section(runtime.Train, "train")
    shape, how = params.section(spec.Model, "model"), params.section(recipe.Recipe, "finetune")
    images, fabric = store.open_fit(fit), runtime.start(train, seed)
    model = start.network(shape, len(images.meta.classes))
    view = batches.View(shape.image_size, images.meta.mean, images.meta.std)
    data = inputs.training_data(images, view, how, device=fabric.device, seed=seed)
    used = {"train": train, "model": shape, "finetune": how}
    made = checkpoint.provenance("finetune", seed=seed, params={k: v.model_dump() for k, v in used.items()})
    folder = resume.folder("finetune", model, fit, made, fabric.device)
    part, seen = frozen.trainable_part(model, data, how, fabric=fabric, folder=folder)
    loss = objective.CrossEntropy(how.label_smoothing)
    record = loop.train(part, loss, seen, how, fabric=fabric, seed=seed, resume_folder=folder)
    checkpoint.save(model_file, model, view=view, classes=images.meta.classes, provenance=made)
    files.write_csv(history, record.frame())


if __name__ == "__main__":
    main()
