"""Stages `distill...`: one student, from a teacher by one method, or alone as a control, from every seed."""

from pathlib import Path

import click

from deepcompress import errors, files, params, runtime
from deepcompress.distillation.settings import Distill
from deepcompress.distillation.student import StudentTrainer, seeds_table
from deepcompress.models import checkpoint
from deepcompress.training.run import TrainingRun


@click.command()
@click.option("--method", help="name in distill.methods or distill.mixtures, or in distill.controls without a teacher")
@click.option("--teacher", "teacher_file", type=Path, help="file of the teacher")
@click.option("--fit", type=Path, required=True, help="folder of training and validation images")
@click.option("--model", "model_file", type=Path, required=True, help="file to write: the model of the first seed")
@click.option("--history", type=Path, required=True, help="table to write: a row per epoch of the first seed")
@click.option("--seeds", "seeds_file", type=Path, required=True, help="table to write: a row per seed")
@errors.one_line_errors
def main(method: str, teacher_file: Path | None, fit: Path, model_file: Path, **tables: Path) -> None:
    """Write the student of the first seed, its history, and what every seed came to."""
    seed, train, config = params.seed(), params.section(runtime.Train, "train"), params.section(Distill, "distill")
    used = {"train": train.model_dump(), **config.provenance_params(method, taught=teacher_file is not None)}
    fabric, provenance = runtime.start(train, seed), checkpoint.provenance("distill", seed=seed, params=used)
    with TrainingRun.of_size(fit, config.student.image_size, params.device_budget_mib()) as training:
        trainer = StudentTrainer(config, training, fabric=fabric, seed=seed)
        model, histories = trainer.train_all(method, teacher_file, provenance)
        images = training.images
        checkpoint.save(model_file, model, view=training.view, classes=images.meta.classes, provenance=provenance)
        files.write_csv(tables["history"], histories[config.seeds[0]].frame())
        rows = seeds_table(histories, keep=config.student.recipe.keep, images=len(images.validation))
        files.write_csv(tables["seeds_file"], rows)


if __name__ == "__main__":
    main()
