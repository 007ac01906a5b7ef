"""Stage `sensitivity`: what each layer loses when it alone is pruned, on validation images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from deepcompress import files, params, runtime
from deepcompress.data import store
from deepcompress.errors import Command, one_line_errors
from deepcompress.models import checkpoint
from deepcompress.pruning import layers, sensitivity, settings

if TYPE_CHECKING:
    from deepcompress.pruning.settings import Method


@click.command(cls=Command)
@click.option("--fit", type=Path, required=True, help="folder of training and validation images")
@click.option("--source", type=Path, required=True, help="dense model to scan")
@click.option("--method", type=click.Choice(["unstructured", "structured"]), required=True)
@click.option("--table", type=Path, required=True, help="table to write: a row per layer and sparsity")
@one_line_errors
def main(fit: Path, source: Path, method: Method, table: Path) -> None:
    """Scan every layer that the method can prune."""
    seed, train = params.seed(), params.section(runtime.Train, "train")
    scan, prune = params.section(settings.Sensitivity, "sensitivity"), params.section(settings.Prune, "prune")
    images, loaded = store.open_fit(fit, params.device_budget_mib()), checkpoint.load(source)
    runtime.make_deterministic(seed, train.threads)
    model = layers.require_dense(loaded.model, str(source)).to(runtime.device(train))
    rows = sensitivity.sensitivity(model, images, method, scan, prune, view=loaded.view, seed=seed)
    files.write_tables([("sensitivity", table)], {"sensitivity": rows})


if __name__ == "__main__":
    main()
