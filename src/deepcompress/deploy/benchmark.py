"""How fast models run on this machine: PyTorch and ONNX Runtime, every one of them timed in turn.

What is timed is what a program waits for: uint8 pixels in, logits out, normalisation included. int8 files are made
of models whose own weights are integers, and of the baseline, so that the gain of int8 alone can be read; int4 files
of models that are stored in 4 bits or fewer.
"""

from __future__ import annotations

import os
import platform
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepcompress.data.store import open_fit, sampled
from deepcompress.deploy import graph, int4, int8
from deepcompress.deploy.pixels import channels_first
from deepcompress.deploy.session import Classifier
from deepcompress.measure import latency
from deepcompress.models import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jaxtyping import UInt8

    from deepcompress.deploy.benchmark_settings import Benchmark
    from deepcompress.deploy.settings import Deploy
    from deepcompress.models.checkpoint import Checkpoint
    from deepcompress.models.quantized_weight import QuantizedWeight

    Row = dict[str, Any]
    Call = Callable[[UInt8[np.ndarray, "images 3 size size"]], object]

BASELINE = "baseline"
PYTORCH, FLOAT, INT8, INT4 = "pytorch", "onnxruntime", "onnxruntime-int8", "onnxruntime-int4"
PAPER_RUNS = 50  # of one image, in PyTorch, no warm-up, the mean: the source report's protocol
CPU_INFO = Path("/proc/cpuinfo")


def latencies(models: Mapping[str, Path], fit: Path, how: Benchmark, deploy: Deploy, *, seed: int) -> list[Row]:
    """Time every model in every engine at every batch size.

    Args:
        models: The file of each.
        fit: Folder of images to time with and to calibrate int8 on: training images.
        how: The section `benchmark`.
        deploy: How int8 files are made.
        seed: Draws the images, and the order within each round.

    Returns:
        A row per model, engine and batch size: `latency_ms_p50` with `_p25` and `_p75` of one call, `n` calls,
        `speedup`, the dense float model's median in the same engine's float form divided by this one's, and
        `paper_protocol_ms`.

    Raises:
        UserError: If a model is missing or damaged.
    """
    threads = how.threads or os.cpu_count() or 1
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    images = sampled(open_fit(fit).train, max(*how.batch_sizes, deploy.calibration_samples), seed).images
    try:
        with tempfile.TemporaryDirectory() as scratch:
            calls: dict[tuple[str, str], Call] = {}
            pixels: dict[str, UInt8[np.ndarray, "images 3 size size"]] = {}  # models may see different sizes
            for model, path in models.items():
                loaded = checkpoint.load(path)
                pixels[model] = channels_first(images, loaded.view.size)
                calibration = pixels[model][: deploy.calibration_samples]
                stored = int4.stored(path, loaded)
                made = _engines(model, loaded, stored, Path(scratch), calibration, deploy, threads)
                pixels[model] = pixels[model][: max(how.batch_sizes)].copy()
                calls |= {(model, engine): call for engine, call in made.items()}
            tasks = {
                (model, engine, size): _task(call, pixels[model][:size])
                for (model, engine), call in calls.items()
                for size in how.batch_sizes
            }
            times = latency.interleaved(tasks, warm_up=how.warm_up, rounds=how.rounds, seed=seed)
            alone = {model: _paper(calls[model, PYTORCH], pixels[model][:1]) for model in models}
    finally:
        torch.set_num_threads(before)
    return [_row(key, found, times, alone) for key, found in times.items()]


def machine(how: Benchmark) -> Row:
    """What the times belong to: processor, cores, threads and versions."""
    import onnxruntime

    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": how.threads or os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "onnxruntime": onnxruntime.__version__,
        "warm_up": how.warm_up,
        "rounds": how.rounds,
    }


def _engines(
    model: str,
    loaded: Checkpoint,
    stored: Mapping[str, QuantizedWeight],
    folder: Path,
    calibration: UInt8[np.ndarray, "images 3 size size"],
    deploy: Deploy,
    threads: int,
) -> dict[str, Call]:
    """What each engine is called with for one model."""
    stem = model.replace("/", "-")
    path, other, halves = (folder / f"{stem}{kind}.onnx" for kind in ("", "-int8", "-int4"))
    graph.export_float(loaded.model, path, view=loaded.view, classes=loaded.classes)
    calls: dict[str, Call] = {PYTORCH: _eager(loaded), FLOAT: Classifier(path, threads).answers}
    if model == BASELINE or loaded.integer_tensors:
        int8.quantize_int8(path, other, images=calibration, reduce_range=deploy.reduce_range)
        calls[INT8] = Classifier(other, threads).answers
    if stored:
        int4.quantize_int4(path, halves, stored)
        calls[INT4] = Classifier(halves, threads).answers
    return calls


def _eager(loaded: Checkpoint) -> Call:
    network = graph.FromPixels(loaded.model, loaded.view).eval().to(memory_format=torch.channels_last)

    def call(pixels: UInt8[np.ndarray, "images 3 size size"]) -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(pixels))

    return call


def _task(call: Call, pixels: UInt8[np.ndarray, "images 3 size size"]) -> Callable[[], object]:
    return lambda: call(pixels)


def _paper(call: Call, image: UInt8[np.ndarray, "1 3 size size"]) -> float:
    times = latency.interleaved({PYTORCH: _task(call, image)}, warm_up=0, rounds=PAPER_RUNS)
    return times[PYTORCH].mean_ms


def _row(
    key: tuple[str, str, int],
    found: latency.Times,
    times: Mapping[tuple[str, str, int], latency.Times],
    alone: Mapping[str, float],
) -> Row:
    model, engine, size = key
    low, high = found.quartiles_ms
    dense = times.get((BASELINE, engine if engine == PYTORCH else FLOAT, size))
    return {
        "model": model,
        "engine": engine,
        "batch_size": size,
        "latency_ms_p50": round(found.median_ms, 4),
        "latency_ms_p25": round(low, 4),
        "latency_ms_p75": round(high, 4),
        "n": found.n,
        "speedup": round(dense.median_ms / found.median_ms, 3) if dense else None,
        "paper_protocol_ms": round(alone[model], 4) if engine == PYTORCH and size == 1 else None,
    }
