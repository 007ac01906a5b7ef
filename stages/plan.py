"""Check params.yaml, list the models that it calls for, and remove the results of those that left."""

from pathlib import Path

import click

from deepcompress import files, params, plan
from deepcompress.errors import one_line_errors


@click.command()
@click.option("--plan", "plan_file", type=click.Path(path_type=Path), required=True)
@click.option("--checked", type=click.Path(path_type=Path), required=True)
@click.option("--clean", type=click.Path(path_type=Path), multiple=True, help="Folder named by model id.")
@one_line_errors
def main(plan_file: Path, checked: Path, clean: tuple[Path, ...]) -> None:
    """Every other stage waits for this one, so a wrong key stops the run before any work starts."""
    plan.check()
    models = plan.table(params.read())
    for folder in clean:
        for stray in plan.remove_strays(folder, models.ids):
            click.echo(f"removed {stray}: no model of the plan")
    models.write(plan_file)
    files.write_text(checked, "Every section of params.yaml passed its check.\n")


if __name__ == "__main__":
    main()
