"""Check params.yaml, list the models that it calls for, and remove the results of those that left."""

from pathlib import Path

import click

from deepcompress import dependencies, files, params, plan
from deepcompress.errors import Command


@click.command(cls=Command)
@click.option("--code", type=Path, required=True, help="hashes of the code")
@click.option("--plan", "plan_file", type=Path, required=True, help="table of all models to write")
@click.option("--checked", type=Path, required=True, help="file to write once all is checked")
@click.option("--inputs", type=Path, required=True, help="folder of links to files that params.yaml names")
@click.option("--table", "tables", type=(str, Path), multiple=True, help="inputs, choices or params, and its file")
@click.option("--clean", type=Path, multiple=True, help="folder named by model id")
def main(
    code: Path, plan_file: Path, checked: Path, inputs: Path, tables: list[tuple[str, Path]], clean: list[Path]
) -> None:
    """Every other stage waits for this one, so a wrong key stops the run before any work starts."""
    for note in plan.check():
        click.echo(note)
    document = params.read()
    models, chosen = plan.table(document), dependencies.choices(document, files.read_json(code))
    named = [path for paths in dependencies.named(document).values() for path in paths]
    for folder in clean:
        for stray in plan.remove_strays(folder, models.ids, named):
            click.echo(f"removed {stray}: no model of the plan")
    dependencies.link_(document, inputs)
    content = {"inputs": dependencies.hashes(document), "choices": chosen, "params": document}
    for name, file in tables:
        files.write_json(file, content[name])
    models.write(plan_file)
    files.write_text(checked, "Every section of params.yaml passed its check.\n")


if __name__ == "__main__":
    main()
