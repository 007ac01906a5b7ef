"""Stage `combine_distill`: a pruned model learns on from a teacher, for as long as `prune.finetune` says."""

from pathlib import Path

import click

from deepcompress import files, params, processes, runtime
from deepcompress.distillation.settings import Distill
from deepcompress.distillation.student import StudentTrainer
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
    """Write the trained model, and what each epoch came to."""
    seed, train, start = params.seed(), params.section(runtime.Train, "train"), checkpoint.load(source)
    after = params.section(recipe.Recipe, "prune.finetune")
    config = params.section(Distill, "distill").for_pruned(after, start.view.size)
    fabric, budget = runtime.start(train, seed), params.device_budget_mib()
    trainer = StudentTrainer(config, fit=fit, fabric=fabric, seed=seed, budget_mib=budget)
    objective, used = trainer.teacher_objective(method, teacher_file), config.provenance_params(method, taught=True)
    provenance = checkpoint.provenance("distill", seed=seed, params={"train": train.model_dump(), **used})
    runtime.make_deterministic(runtime.derived_seed(seed, "student", config.seeds[0]))
    keep_zeros, cache_key = masks.keep_zeros(start.model), (provenance, files.sha256(teacher_file))
    record = trainer.train_from(start.model, objective, seed, *cache_key, after_step=keep_zeros)
    processes.first_only()
    start.save_alike(model_file, start.model, provenance, masks.encodings(start.model))
    files.write_csv(history, record.frame())


if __name__ == "__main__":
    main()
