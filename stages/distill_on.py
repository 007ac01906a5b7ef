"""Stage `combine_distill`: a pruned model learns on from a teacher, for as long as `prune.finetune` says."""

from pathlib import Path

import click

from deepcompress import files, params, processes, runtime
from deepcompress.distillation import course, settings
from deepcompress.errors import one_line_errors
from deepcompress.models import checkpoint
from deepcompress.pruning import masks
from deepcompress.training import recipe


@click.command()
@click.option("--method", required=True, help="name in distill.methods or distill.mixtures")
@click.option("--teacher", "teacher_file", type=Path, required=True, help="file of the teacher")
@click.option("--fit", type=Path, required=True, help="folder of training and validation images")
@click.option("--source", type=Path, required=True, help="model to train on; its zeros stay")
@click.option("--model", "model_file", type=Path, required=True, help="file to write")
@click.option("--history", type=Path, required=True, help="table to write: a row per epoch")
@one_line_errors
def main(method: str, teacher_file: Path, fit: Path, source: Path, model_file: Path, history: Path) -> None:
    """Write the taught model, and what each epoch came to."""
    seed, train, start = params.seed(), params.section(runtime.Train, "train"), checkpoint.load(source)
    after = params.section(recipe.Recipe, "prune.finetune")
    how = params.section(settings.Distill, "distill").for_pruned(after, start.view.size)
    fabric, budget = runtime.start(train, seed), params.device_budget_mib()
    lesson = course.Course(how, fit=fit, fabric=fabric, seed=seed, budget_mib=budget)
    objective, used = lesson.taught(method, teacher_file), how.used(method, taught=True)
    made = checkpoint.provenance("distill", seed=seed, params={"train": train.model_dump(), **used})
    runtime.make_deterministic(runtime.derived_seed(seed, "student", how.seeds[0]))
    kept, identity = masks.keep_zeros(start.model), (made, files.sha256(teacher_file))
    record = lesson.train(start.model, objective, seed, *identity, after_step=kept)
    processes.first_only()
    start.save_alike(model_file, start.model, made, masks.encodings(start.model))
    files.write_csv(history, record.frame())


if __name__ == "__main__":
    main()
