"""Bytes and CPU time of our coder of quantized weights, beside the order-0 entropy, zstd and NNCodec.

Every coder gets the integers alone, each layer by itself. The order-0 entropy of a layer is what a coder needs that
knows how often each value occurs and nothing else; its histogram, which a file must hold as well, is not counted.
NNCodec (ISO/IEC 15938-17: context-adaptive arithmetic coding) runs in an interpreter of its own, because it pins
libraries that we do not: `python -m benchmarks.coding --nncodec PATH`, with a python that has `nncodec`.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import click
import numpy as np
import torch
import zstandard

from benchmarks.printing import print_line
from deepcompress.data.batches import View
from deepcompress.errors import Command, UserError
from deepcompress.models import checkpoint, records
from deepcompress.models.encodings import coded
from deepcompress.models.quantized_weight import QuantizedWeight
from deepcompress.models.spec import BLOCKS, VGGSpec
from deepcompress.models.vgg import VGG, prunable_layers

if TYPE_CHECKING:
    from jaxtyping import Int8

    Layers = dict[str, Int8[np.ndarray, "outputs ..."]]

Result = TypeVar("Result")
NNCODEC = Path(__file__).with_name("coding_nncodec.py")
ZSTD_LEVEL = 19
HEADER = ("Model", "Integers", "Zeros, %", "Order-0 entropy", "zstd", "NNCodec", "Ours", "Ours, with scales")
TIMES = ("Encode, ms: zstd", "NNCodec", "ours", "Decode, ms: zstd", "NNCodec", "ours", "Bit-equal")


class Coded(NamedTuple):
    """What a coder made of all layers of a model: bytes, CPU seconds, and whether decoding gave the same integers."""

    size: int
    encode_s: float
    decode_s: float
    equal: bool


def entropy_bytes(layers: Iterable[Int8[np.ndarray, "outputs ..."]]) -> float:
    """The order-0 entropy of each layer, summed."""
    bits = 0.0
    for layer in layers:
        counts = np.unique(layer, return_counts=True)[1]
        bits += float(-(counts * np.log2(counts / layer.size)).sum())
    return bits / 8


def ours(layers: Layers, groups: Iterable[int], repeats: int) -> Coded:
    """By `models/records.py`, which knows into how many groups with a scale the rows of each layer fall."""
    tables = [np.ascontiguousarray(layer.reshape(len(layer), -1)) for layer in layers.values()]
    cuts = list(groups)
    data, encode_s = least(lambda: list(map(records.encode_table, tables, cuts)), repeats)
    parts = list(zip(data, (table.shape for table in tables), cuts, strict=True))
    found, decode_s = least(lambda: [records.decode_table(part, *shape, cut) for part, shape, cut in parts], repeats)
    return Coded(sum(map(len, data)), encode_s, decode_s, all(map(np.array_equal, found, tables)))


def zstd(layers: Layers, repeats: int) -> Coded:
    """By zstandard at its highest ordinary level, a byte per integer."""
    raw = [layer.tobytes() for layer in layers.values()]
    coder, decoder = zstandard.ZstdCompressor(level=ZSTD_LEVEL), zstandard.ZstdDecompressor()
    data, encode_s = least(lambda: [coder.compress(layer) for layer in raw], repeats)
    found, decode_s = least(lambda: [decoder.decompress(part) for part in data], repeats)
    return Coded(sum(map(len, data)), encode_s, decode_s, found == raw)


def nncodec(layers: Layers, repeats: int, interpreter: Path) -> Coded:
    """By NNCodec as another interpreter has it, without its own quantization; UserError if that cannot run it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "layers.npz"
        np.savez(file, **layers)  # type: ignore[arg-type]
        command = [str(interpreter), str(NNCODEC), str(file), str(repeats)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise UserError(f"--nncodec {interpreter}: {lines[-1]}") from None
    return Coded(**json.loads(done.stdout.splitlines()[-1]))


def least(work: Callable[[], Result], repeats: int) -> tuple[Result, float]:
    """The result, and the fewest CPU seconds of all rounds: other work can only add to them."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        seconds.append(time.process_time() - start)
    return result, min(seconds)


def integers(path: Path) -> tuple[Layers, list[int], int | None]:
    """The integers of a checkpoint by layer, how many scales a row has, and the bytes of all that as stored.

    An .npz with an array of int8 per layer has integers alone. A UserError if it is neither.
    """
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            layers = {name: arrays[name] for name in arrays.files}
        if wrong := [name for name, layer in layers.items() if layer.dtype != np.int8 or layer.ndim < 2]:
            raise UserError(f"{path}: {wrong[0]} must be int8 with outputs and inputs")
        return layers, [1] * len(layers), None
    weights = checkpoint.load(path).integers
    stored = sum(len(coded.encode(weight)["record"]) for weight in weights.values())
    layers = {name.removesuffix(".weight"): weight.codes.numpy() for name, weight in weights.items()}
    return layers, [weight.scales.shape[1] for weight in weights.values()], stored


def row(file: Path, repeats: int, interpreter: Path | None) -> list[str] | None:
    """One line of the table; None for a model without integers."""
    layers, groups, stored = integers(file)
    if not layers:
        return None
    count = sum(layer.size for layer in layers.values())
    zeros = count - sum(np.count_nonzero(layer) for layer in layers.values())
    peer = nncodec(layers, repeats, interpreter) if interpreter else None
    coders = [zstd(layers, repeats), peer, ours(layers, groups, repeats)]
    sizes = [entropy_bytes(layers.values()), *(coder and coder.size for coder in coders), stored]
    times = [1e3 * getattr(coder, step) if coder else None for step in ("encode_s", "decode_s") for coder in coders]
    return [
        f"`{file.parent.name}/{file.stem}`",
        f"{count:,}",
        f"{100 * zeros / count:.1f}",
        *("" if size is None else f"{size:,.0f}" for size in sizes),
        *("" if spent is None else f"{spent:,.1f}" for spent in times),
        "yes" if all(coder.equal for coder in coders if coder) else "NO",
    ]


def full_width(hidden: int, *, width: int = 512, zeros: float = 0.9) -> tuple[VGG, dict[str, QuantizedWeight]]:
    """A VGG-11 for CIFAR-100 with random weights, the smallest of each layer zero, and the same at 4 bits."""
    features = tuple(channels * width // 512 for block in BLOCKS["vgg11"] for channels in block)
    torch.manual_seed(0)
    model = VGG(VGGSpec("vgg11", True, features, (hidden, hidden), 100, 32, 0.5)).eval()
    quantized = {}
    for name, layer in prunable_layers(model).items():
        torch.nn.init.kaiming_normal_(layer.weight)  # our own start is nearly copies, most of which round to 0
        magnitudes = layer.weight.detach().abs()
        limit = magnitudes.flatten().kthvalue(max(1, int(zeros * magnitudes.numel()))).values
        weight = QuantizedWeight.quantize(layer.weight.detach() * (magnitudes > limit), 4)
        layer.weight.data.copy_(weight.dequantize())
        quantized[f"{name}.weight"] = weight
    return model, quantized


def print_load(hidden: int, repeats: int, *, width: int = 512) -> None:
    """Bytes and CPU seconds of loading such a file whole, beside the same weights as float32."""
    model, quantized = full_width(hidden, width=width)
    integer = {name: checkpoint.Encoded("coded", coded.encode(weight)) for name, weight in quantized.items()}
    view, classes = View(32, (0.5,) * 3, (0.25,) * 3), tuple(map(str, range(100)))
    with tempfile.TemporaryDirectory() as folder:
        for name, encodings in {"int4": integer, "fp32": {}}.items():
            file = Path(folder) / f"{name}.safetensors"
            checkpoint.save(file, model, view=view, classes=classes, provenance={}, encodings=encodings)
            found, seconds = least(lambda file=file: checkpoint.load(file), repeats)
            same = all(torch.equal(value, found.model.state_dict()[key]) for key, value in model.state_dict().items())
            count = sum(weight.codes.numel() for weight in quantized.values())
            what = f"{file.stat().st_size:,} bytes, loaded in {seconds:.2f} s, equal {same}"
            print_line(f"hidden {hidden}, {name}", f"{count:,} weights, {what}")


@click.command(cls=Command)
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--nncodec", "interpreter", type=Path, help="A python that has the package nncodec.")
@click.option("--whole", "hidden", type=int, multiple=True, help="Load a VGG-11 of full width and such hidden layers.")
@click.option(
    "--repeats",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Timed rounds; the fewest CPU seconds count.",
)
def main(files: tuple[Path, ...], interpreter: Path | None, hidden: tuple[int, ...], repeats: int) -> None:
    """A line per checkpoint or .npz of integers; without FILES, per model under models/ that has any."""
    torch.set_num_threads(1)
    print(f"| {' | '.join(HEADER + TIMES)} |\n|---|{'--:|' * (len(HEADER + TIMES) - 1)}", flush=True)
    for file in files or sorted(Path("models").rglob("*.safetensors")):
        if cells := row(file, repeats, interpreter):
            print(f"| {' | '.join(cells)} |", flush=True)
        elif files:
            raise UserError(f"{file}: no weight is stored as integers")
    for size in hidden:
        print_load(size, repeats)


if __name__ == "__main__":
    main()
