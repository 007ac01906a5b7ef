"""Stage `train_teacher`: train one network of the `teachers` section, as its recipe says."""

from pathlib import Path

import click

from deepcompress import files, params, processes, runtime
from deepcompress.data import batches, store
from deepcompress.distillation.network import Network
from deepcompress.errors import one_line_errors
from deepcompress.models import checkpoint
from deepcompress.training import objective, run, start


@click.command()
@click.option("--key", required=True, help="its section of params.yaml, such as teachers.vgg16")
@click.option("--fit", type=Path, required=True, help="folder of training and validation images")
@click.option("--model", "model_file", type=Path, required=True, help="file to write")
@click.option("--history", type=Path, required=True, help="table to write: a row per epoch")
@one_line_errors
def main(key: str, fit: Path, model_file: Path, history: Path) -> None:
    """Write the teacher with the weights to keep, and what each epoch came to."""
    seed, train = params.seed(), params.section(runtime.Train, "train")
    network = params.section(Network, key)
    images, fabric, recipe = store.open_fit(fit), runtime.start(train, seed), network.recipe
    model = start.network(network, len(images.meta.classes))
    view = batches.View(network.image_size, images.meta.mean, images.meta.std)
    used = {"train": train.model_dump(), key: network.model_dump()}
    origin = checkpoint.provenance("train_teacher", seed=seed, params=used)
    loss, data = objective.CrossEntropy(recipe.label_smoothing), run.Data(fit, view, params.device_budget_mib())
    record = run.run(model, loss, data, recipe, fabric=fabric, origin=origin)
    processes.first_only()
    checkpoint.save(model_file, model, view=view, classes=images.meta.classes, provenance=origin)
    files.write_csv(history, record.frame())
    data.forget()


if __name__ == "__main__":
    main()
