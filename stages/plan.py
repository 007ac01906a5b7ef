"""Check params.yaml, list the models that it calls for, and remove the results of those that left."""

from pathlib import Path

import click

from deepcompress import files, input_files, params, plan, plan_table
from deepcompress.errors import Command, one_line_errors


@click.command(cls=Command)
@click.option("--plan", "plan_file", type=click.Path(path_type=Path), required=True)
@click.option("--checked", type=click.Path(path_type=Path), required=True)
@click.option("--inputs", type=click.Path(path_type=Path), required=True, help="Folder of links to files of params.")
@click.option("--hashes", type=click.Path(path_type=Path), required=True, help="Table of their hashes to write.")
@click.option("--links", type=click.Path(path_type=Path), required=True, help="What decides about links, to write.")
@click.option("--values", type=click.Path(path_type=Path), required=True, help="What params.yaml holds, to write.")
@click.option("--clean", type=click.Path(path_type=Path), multiple=True, help="Folder named by model id.")
@one_line_errors
def main(
    plan_file: Path, checked: Path, inputs: Path, hashes: Path, links: Path, values: Path, clean: tuple[Path, ...]
) -> None:
    """Every other stage waits for this one, so a wrong key stops the run before any work starts."""
    for note in plan.check():
        click.echo(note)
    document = params.read()
    models = plan.table(document)
    named = [path for paths in input_files.named(document).values() for path in paths]
    for folder in clean:
        for stray in plan.remove_strays(folder, models.ids, named):
            click.echo(f"removed {stray}: no model of the plan")
    input_files.link_(document, inputs)
    files.write_json(hashes, input_files.hashes(document))
    files.write_json(links, plan_table.links(document))
    files.write_json(values, document)
    models.write(plan_file)
    files.write_text(checked, "Every section of params.yaml passed its check.\n")


if __name__ == "__main__":
    main()
