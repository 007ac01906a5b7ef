"""List the code behind each stage and plug-in, so that a stage is stale when, and only when, its own code changed."""

from pathlib import Path

import click

from deepcompress import files, fingerprint
from deepcompress.errors import one_line_errors


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), required=True)
@one_line_errors
def main(folder: Path) -> None:
    """A list each; those of files that are gone go, too."""
    lists = fingerprint.lists(Path())
    for stray in {path.relative_to(folder) for path in folder.rglob("*.txt")} - set(lists):
        (folder / stray).unlink()
    for name, text in lists.items():
        files.write_text(folder / name, text)


if __name__ == "__main__":
    main()
