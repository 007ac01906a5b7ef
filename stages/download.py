"""Stage `download`: one data source becomes data/fit (train and validation) and data/heldout (test)."""

from pathlib import Path

import click

from deepcompress import params, runtime
from deepcompress.data.store import DataConfig, atomic_folders, load_source, write_fit, write_heldout
from deepcompress.errors import Command


@click.command(cls=Command)
@click.option("--fit", type=Path, required=True)
@click.option("--heldout", type=Path, required=True)
def main(fit: Path, heldout: Path) -> None:
    """Write both folders, whole or not at all."""
    data = params.section(DataConfig, "data")
    source = load_source(data, runtime.scratch("download", data.source, data.options(data.source)))
    with atomic_folders(fit, heldout) as (new_fit, new_heldout):
        meta = write_fit(new_fit, source, validation_fraction=data.validation_fraction, seed=data.seed)
        write_heldout(new_heldout, source, meta=meta)


if __name__ == "__main__":
    main()
