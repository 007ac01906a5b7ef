"""`python -m deepcompress COMMAND`: what a person runs by hand, beside the stages that dvc.yaml runs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from deepcompress.errors import one_line_errors

MODEL = Path("models/deploy/model.onnx")


@click.group()
def main() -> None:
    """Compressed image classifiers."""


@main.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", type=click.Path(path_type=Path), default=MODEL, show_default=True, help="exported ONNX file")
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="classes to show of each image")
@click.option("--json", "as_json", is_flag=True, help="print one JSON list in place of lines")
@one_line_errors
def predict(images: tuple[Path, ...], model: Path, top: int, as_json: bool) -> None:
    """Name the likeliest classes of IMAGES: files, or folders whose images are all taken."""
    from deepcompress.deploy import predict as predicting
    from deepcompress.deploy.session import Classifier

    answers = predicting.predict(Classifier(model), predicting.found(images), top)
    if as_json:
        rows = [
            {"file": str(one.file), "classes": [{"class": name, "probability": p} for name, p in one.classes]}
            for one in answers
        ]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for one in answers:
        click.echo(f"{one.file}: " + ", ".join(f"{name} {100 * p:.1f} %" for name, p in one.classes))


if __name__ == "__main__":
    main(prog_name="python -m deepcompress")
