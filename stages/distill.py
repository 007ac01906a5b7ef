"""Stages `distill...`: one student, from a teacher by one method, or alone as a control, from every seed."""

from pathlib import Path

import click

from deepcompress import errors, files, params, processes, runtime
from deepcompress.distillation import course, repeats, settings
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
    how = params.section(settings.Distill, "distill")
    fabric, budget = runtime.start(train, seed), params.device_budget_mib()
    room = course.Course(how, fit=fit, fabric=fabric, seed=seed, budget_mib=budget)
    objective = room.taught(method, teacher_file) if teacher_file else room.alone(method)
    used = {"train": train.model_dump(), **how.used(method, taught=teacher_file is not None)}
    made = checkpoint.provenance("distill", seed=seed, params=used)
    identity = (made, files.sha256(teacher_file) if teacher_file else None)
    model, histories = repeats.train_all(how.seeds, lambda number: room.training(number, objective, *identity))
    processes.first_only()
    checkpoint.save(model_file, model, view=room.view, classes=room.images.meta.classes, provenance=made)
    files.write_csv(tables["history"], histories[how.seeds[0]].frame())
    images = len(room.images.validation)
    files.write_csv(tables["seeds_file"], repeats.table(histories, keep=how.student.recipe.keep, images=images))


if __name__ == "__main__":
    main()
