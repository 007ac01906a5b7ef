"""Stages `distill...`: one student, from a teacher by one method, or alone as a control, from every seed."""

from pathlib import Path

import click

from deepcompress import errors, files, params, processes, runtime
from deepcompress.distillation.settings import Distill
from deepcompress.distillation.student import StudentTrainer, seeds_table, train_all
from deepcompress.models import checkpoint


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
    seed, train = params.seed(), params.section(runtime.Train, "train")
    config = params.section(Distill, "distill")
    fabric, budget = runtime.start(train, seed), params.device_budget_mib()
    trainer = StudentTrainer(config, fit=fit, fabric=fabric, seed=seed, budget_mib=budget)
    objective = trainer.teacher_objective(method, teacher_file) if teacher_file else trainer.control_objective(method)
    used = {"train": train.model_dump(), **config.provenance_params(method, taught=teacher_file is not None)}
    provenance = checkpoint.provenance("distill", seed=seed, params=used)
    cache_key = (provenance, files.sha256(teacher_file) if teacher_file else None)
    model, histories = train_all(config.seeds, lambda number: trainer.prepare(number, objective, *cache_key))
    processes.first_only()
    checkpoint.save(model_file, model, view=trainer.view, classes=trainer.images.meta.classes, provenance=provenance)
    files.write_csv(tables["history"], histories[config.seeds[0]].frame())
    images = len(trainer.images.validation)
    files.write_csv(tables["seeds_file"], seeds_table(histories, keep=config.student.recipe.keep, images=images))


if __name__ == "__main__":
    main()
