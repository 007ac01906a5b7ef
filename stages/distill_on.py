"""Stage `combine_distill`: a pruned model learns on from a teacher, for as long as `prune.finetune` says."""

from pathlib import Path

import click

from deepcompress import errors, files, params
from deepcompress.distillation import student
from deepcompress.distillation.settings import Distill
from deepcompress.models import checkpoint
from deepcompress.pruning import masks
from deepcompress.training import recipe, run


@click.command(cls=errors.Command)
@click.option("--method", required=True, help="name in distill.methods or distill.mixtures")
@click.option("--teacher", "teacher_file", type=Path, required=True, help="file of the teacher")
@click.option("--fit", type=Path, required=True, help="folder of training and validation images")
@click.option("--source", type=Path, required=True, help="model to train on; its zeros stay")
@click.option("--model", "model_file", type=Path, required=True, help="file to write")
@click.option("--history", type=Path, required=True, help="table to write: a row per epoch")
def main(method: str, teacher_file: Path, fit: Path, source: Path, model_file: Path, history: Path) -> None:
    """Write the trained model, and what each epoch came to."""
    start, after = checkpoint.load(source), params.section(recipe.Recipe, "prune.finetune")
    config = params.section(Distill, "distill").for_pruned(after, start.view.size)
    fabric, provenance = run.start("distill", config.provenance_params(method, taught=True))
    with run.TrainingRun(fit, start.view, params.device_budget_mib()) as training:
        net, hold = start.model, masks.keep_zeros(start.model)
        _, epochs = student.train(
            config, training, method, teacher_file, fabric=fabric, provenance=provenance, model=net, after_step=hold
        )
        start.save_alike(model_file, net, provenance, masks.encodings(net))
        files.write_csv(history, epochs.frame())


if __name__ == "__main__":
    main()
