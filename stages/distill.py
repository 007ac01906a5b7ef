"""Stages `distill...`: one student, from a teacher by one method, or alone as a control."""

from pathlib import Path

import click

from deepcompress import errors, files, params
from deepcompress.distillation import student
from deepcompress.distillation.settings import Distill
from deepcompress.models import checkpoint
from deepcompress.training import run


@click.command(cls=errors.Command)
@click.option("--method", help="name in distill.methods or distill.mixtures, or in distill.controls without a teacher")
@click.option("--teacher", "teacher_file", type=Path, help="file of the teacher")
@click.option("--fit", type=Path, required=True, help="folder of training and validation images")
@click.option("--model", "model_file", type=Path, required=True, help="file to write")
@click.option("--history", type=Path, required=True, help="table to write: a row per epoch")
def main(method: str, teacher_file: Path | None, fit: Path, model_file: Path, history: Path) -> None:
    """Write the student, and what each epoch came to."""
    config = params.section(Distill, "distill")
    fabric, provenance = run.start("distill", config.provenance_params(method, taught=teacher_file is not None))
    with run.TrainingRun.of_size(fit, config.student.image_size, params.device_budget_mib()) as training:
        model, epochs = student.train(config, training, method, teacher_file, fabric=fabric, provenance=provenance)
        classes = training.images.meta.classes
        checkpoint.save(model_file, model, view=training.view, classes=classes, provenance=provenance)
        files.write_csv(history, epochs.frame())


if __name__ == "__main__":
    main()
