"""`python -m deepcompress COMMAND`: what a person runs by hand, beside the stages that dvc.yaml runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from deepcompress.errors import EXIT_CODE, Command, UserError, named, one_line, printable
from deepcompress.files import mebibytes


class _NonemptyPath(click.Path):
    """A path as Path, `~/` as the home folder; not the empty one, which Path takes for the working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not value:
            self.fail("a path must not be empty.", param, ctx)
        return super().convert(Path(value).expanduser() if Path(value).parts[:1] == ("~",) else value, param, ctx)


PATH = _NonemptyPath(path_type=Path)
MODULES = ("preset", "replicates", "repro", "stale")
EXPORTED, SHIPPED = Path("models/deploy/model.onnx"), Path("models/shipped/quantized.safetensors")


def _require_other(out: Path, source: Path) -> None:
    """Refuse to write a file over the one that it is made from."""
    if out.exists() and source.exists() and out.samefile(source):
        raise UserError(f"{out}: would be written over {source}, which it is made from; give it another name")


class _Commands(Command, click.Group):
    """Tells of the modules that run by a name of their own, such as deepcompress.stale."""

    command_class = Command

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in MODULES:
            ctx.fail(f"{cmd_name} is run by `python -m deepcompress.{cmd_name}`, with a dot.")
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Commands)
def main() -> None:
    """Compressed image classifiers."""


@main.command()
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option("--model", type=PATH, default=EXPORTED, show_default=True, help="exported ONNX, .dc or .pte file")
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="classes to show of each image")
@click.option("--json", "as_json", is_flag=True, help="print a line of JSON per file")
def predict(images: tuple[Path, ...], model: Path, top: int, as_json: bool) -> None:
    """Name the likeliest classes of IMAGES: files, or folders whose images are all taken.

    A file that cannot be read has its error in place of classes, and the exit code is 2.
    """
    from deepcompress.deploy.classifier import image_files, open_classifier
    from deepcompress.deploy.classifier import predict as classify

    files, others = image_files(images)
    failed = 0
    for row in classify(open_classifier(model), files, top):
        failed += "error" in row
        if as_json:
            click.echo(json.dumps(row))
        elif "error" in row:
            click.echo(f"error: {one_line(row['error'])}", err=True)
        else:
            shares = (f"{entry['class']} {100 * entry['probability']:.1f} %" for entry in row["classes"])
            click.echo(printable(f"{row['file']}: {', '.join(shares)}"))
    if others:
        click.echo(f"no images, skipped {len(others)}: {one_line(named(map(str, others)))}", err=True)
    sys.exit(EXIT_CODE if failed else 0)


@main.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, required=True, metavar="KEY VALUE ...")
def set_params(arguments: tuple[str, ...]) -> None:
    """Set keys of params.yaml to values, all or none; comments stay, and what is not allowed is refused.

    A {block} changes the keys that it names, as with `dvc exp run -S`; other keys of the block stay.
    """
    from deepcompress.preset import set_

    for key, value in set_(arguments).items():
        click.echo(f"params.yaml: {key}: {json.dumps(value, ensure_ascii=False)}")


@main.command()
@click.argument("file", type=PATH)
@click.option("--onnx", "out", type=PATH, required=True, help="ONNX file to write")
def unpack(file: Path, out: Path) -> None:
    """Write the ONNX file that a model.dc holds, and its model card beside it (.json)."""
    from deepcompress import files
    from deepcompress.deploy import handover

    if out.suffix == ".json":
        raise UserError(f"--onnx: {out} would be the model card's name; give the ONNX file another suffix")
    for written in (out, out.with_suffix(".json")):
        _require_other(written, file)
    content, card = handover.unpack(file), handover.read_card(file)
    files.write_bytes(out, content)
    files.write_json(out.with_suffix(".json"), card)
    click.echo(f"{out}: {mebibytes(len(content) / 2**20)} MiB from {mebibytes(file.stat().st_size / 2**20)}")


@main.command()
@click.option("--model", type=PATH, default=SHIPPED, show_default=True, help="checkpoint")
@click.option("--fit", type=PATH, default=Path("data/fit"), show_default=True, help="folder of the images")
@click.option("--out", type=PATH, default=Path("model.pte"), show_default=True, help="file to write")
@click.option("--int8", "integers", is_flag=True, help="compute in 8-bit integers in place of float32")
def executorch(model: Path, fit: Path, out: Path, integers: bool) -> None:
    """Write a model for phones and boards (ExecuTorch with XNNPACK), and compare it with its checkpoint."""
    from deepcompress import params
    from deepcompress.deploy.engines.executorch import convert
    from deepcompress.deploy.settings import Deploy

    _require_other(out, model)
    settings = params.section(Deploy, "deploy")
    row = convert(model, fit, out, settings, integers=integers, seed=params.seed())
    click.echo(
        f"{out}: {mebibytes(row['size_bytes'] / 2**20)} MiB, agrees with {model} on {row['agreement_pct']:.2f} % of "
        f"{row['n']} validation images (top-1 {row['top1_pct']:.2f} %, the checkpoint's {row['model_top1_pct']:.2f} %)"
    )


@main.command()
@click.argument("model", type=PATH, default=SHIPPED)
@click.option("--out", type=PATH, default=Path("model.pt"), show_default=True, help="file to write")
def torchao(model: Path, out: Path) -> None:
    """Write the state of MODEL, a checkpoint, with its integers as torchao's tensors: see docs/deploying.md."""
    from deepcompress.deploy.engines import torchao as engine

    _require_other(out, model)
    stayed = engine.write(model, out)
    click.echo(f"{out}: " + (f"float32 stayed {', '.join(stayed)}" if stayed else "all quantized weights are tensors"))


if __name__ == "__main__":
    main(prog_name="python -m deepcompress")
