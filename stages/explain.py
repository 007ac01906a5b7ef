"""Stage `explain`: how closely students follow their teachers, in outputs, in attention and on changed images."""

from pathlib import Path

import click

from deepcompress import errors, files, params, runtime
from deepcompress.data import store
from deepcompress.explain import tables as explain_tables
from deepcompress.measure.settings import Explain
from deepcompress.plan_table import BASELINE, Plan


@click.command(cls=errors.Command)
@click.option("--plan", "plan_file", type=Path, required=True, help="the table of the models")
@click.option("--fit", "fit_folder", type=Path, required=True, help="folder whose validation images are looked at")
@click.option("--models", "folder", type=Path, required=True, help="folder of the models, <id>.safetensors each")
@click.option("--tables", type=Path, required=True, help="folder to write: six tables")
def main(plan_file: Path, fit_folder: Path, folder: Path, tables: Path) -> None:
    """Write what students and teachers have in common, a CSV per question."""
    config, data = params.section(Explain, "explain"), params.section(store.DataConfig, "data")
    train = params.section(runtime.Train, "train")
    plan, device = Plan.read(plan_file), runtime.start(train, params.seed(), trains=False).device
    pairs, ids = explain_tables.pairs(plan), [model.id for model in plan if model.family != "masked"]
    paths = {model: folder / f"{model}.safetensors" for model in ids}
    images = explain_tables.ValidationImages.open(fit_folder, paths[BASELINE], config, data, device)
    looks = explain_tables.looks(paths, pairs, images, explain_tables.compressed(plan))
    for name, rows in explain_tables.tables(looks, pairs, images).items():
        files.write_csv(tables / f"{name}.csv", rows)


if __name__ == "__main__":
    main()
