"""Stage `train_teacher`: train one network of the `teachers` section, as its recipe says."""

from pathlib import Path

import click

from deepcompress import files, params
from deepcompress.errors import Command
from deepcompress.models import checkpoint
from deepcompress.training import loop, run
from deepcompress.training.recipe import Network


@click.command(cls=Command)
@click.option("--key", required=True, help="its section of params.yaml, such as teachers.vgg16")
@click.option("--fit", type=Path, required=True, help="folder of training and validation images")
@click.option("--model", "model_file", type=Path, required=True, help="file to write")
@click.option("--history", type=Path, required=True, help="table to write: a row per epoch")
def main(key: str, fit: Path, model_file: Path, history: Path) -> None:
    """Write the teacher with the weights to keep, and what each epoch came to."""
    network = params.section(Network, key)
    loss = loop.CrossEntropy(network.recipe.label_smoothing)
    fabric, made = run.start("train_teacher", {key: network.model_dump()})
    with run.TrainingRun.of_size(fit, network.image_size, params.device_budget_mib()) as training:
        classes = training.images.meta.classes
        model = run.network(network, len(classes), key)
        epochs = training.train(model, loss, network.recipe, fabric=fabric, provenance=made)
        checkpoint.save(model_file, model, view=training.view, classes=classes, provenance=made)
        files.write_csv(history, epochs.frame())


if __name__ == "__main__":
    main()
