"""Stage `sensitivity`: what each layer loses when it alone is pruned, on validation images."""

from pathlib import Path

import click

from deepcompress import files, params, runtime
from deepcompress.data import store
from deepcompress.errors import Command
from deepcompress.models import checkpoint
from deepcompress.pruning import layers, sensitivity, settings


@click.command(cls=Command)
@click.option("--fit", type=Path, required=True, help="folder of training and validation images")
@click.option("--source", type=Path, required=True, help="dense model to scan")
@click.option("--method", type=click.Choice(["unstructured", "structured"]), required=True)
@click.option("--table", type=Path, required=True, help="table to write: a row per layer and sparsity")
def main(fit: Path, source: Path, method: settings.Method, table: Path) -> None:
    """Scan every layer that the method can prune."""
    seed, train = params.seed(), params.section(runtime.Train, "train")
    scan, prune = params.section(settings.Sensitivity, "sensitivity"), params.section(settings.Prune, "prune")
    images, loaded = store.open_fit(fit, params.device_budget_mib()), checkpoint.load(source)
    device = runtime.start(train, seed, trains=False).device
    model = layers.require_dense(loaded.model, str(source)).to(device)
    rows = sensitivity.sensitivity(model, images, method, scan, prune, view=loaded.view, seed=seed)
    files.write_csv(table, rows)


if __name__ == "__main__":
    main()
