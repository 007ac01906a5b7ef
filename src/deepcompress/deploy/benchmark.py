"""How fast models run on this machine: PyTorch and ONNX Runtime, every one of them timed in turn.

What is timed is what a program waits for: uint8 pixels in, logits out, normalisation included. int8 files are made
of models whose own weights are integers, and of the baseline, so that the gain of int8 alone can be read; int4 files
of models that are stored in 4 bits or fewer.
"""

from __future__ import annotations

import os
import platform
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from deepcompress.data.store import open_fit, sampled
from deepcompress.deploy import integers
from deepcompress.deploy.classifier import OnnxClassifier
from deepcompress.deploy.onnx import FromPixels, channels_first, export_checkpoint
from deepcompress.measure import latency
from deepcompress.models import checkpoint
from deepcompress.plan_table import BASELINE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from jaxtyping import UInt8

    from deepcompress.deploy.settings import Benchmark, Deploy
    from deepcompress.models.checkpoint import Checkpoint

    Row = dict[str, Any]
    Pixels = UInt8[np.ndarray, "images 3 size size"]
    Call = Callable[[Pixels], object]

PYTORCH, FLOAT, INT8, INT4 = "pytorch", "onnxruntime", "onnxruntime-int8", "onnxruntime-int4"
PAPER_RUNS = 50  # of one image, in PyTorch, no warm-up, the mean: the source report's protocol
CPU_INFO = Path("/proc/cpuinfo")


def latencies(models: Mapping[str, Path], fit: Path, settings: Benchmark, deploy: Deploy, *, seed: int) -> list[Row]:
    """Time every model in every engine at every batch size.

    Args:
        models: The file of each.
        fit: Folder of images to time with and to calibrate int8 on: training images.
        settings: The section `benchmark`.
        deploy: How int8 files are made.
        seed: Draws the images, and the order within each round.

    Returns:
        A row per model, engine and batch size: `latency_ms_p50` with `_p25` and `_p75` of one call, `n` calls,
        `speedup`, the dense float model's median in the same engine's float form divided by this one's, and
        `paper_protocol_ms`.

    Raises:
        UserError: If a model is missing or damaged.
    """
    threads = settings.threads or os.cpu_count() or 1
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    images = sampled(open_fit(fit).train, max(*settings.batch_sizes, deploy.calibration_samples), seed).images
    calls: dict[tuple[str, str], Call] = {}
    pixels: dict[str, Pixels] = {}  # models may see different sizes
    try:
        for model, path in models.items():
            resized, engines = _engines(model, path, images, deploy, threads)
            pixels[model] = resized[: max(settings.batch_sizes)].copy()
            calls |= {(model, engine): call for engine, call in engines.items()}
        tasks = {
            (model, engine, size): partial(call, pixels[model][:size])
            for (model, engine), call in calls.items()
            for size in settings.batch_sizes
        }
        times = latency.interleaved(tasks, warm_up=settings.warm_up, rounds=settings.rounds, seed=seed)
        paper = {model: _paper_protocol_ms(calls[model, PYTORCH], pixels[model][:1]) for model in models}
    finally:
        torch.set_num_threads(before)
    return [_row(key, times, paper) for key in times]


def machine(settings: Benchmark) -> Row:
    """What the times belong to: processor, cores, threads and versions."""
    import onnxruntime

    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": settings.threads or os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "onnxruntime": onnxruntime.__version__,
        "warm_up": settings.warm_up,
        "rounds": settings.rounds,
    }


def _engines(
    model: str, path: Path, images: np.ndarray, deploy: Deploy, threads: int
) -> tuple[Pixels, dict[str, Call]]:
    """The images as one model takes them, and what each engine is called with for it."""
    loaded = checkpoint.load(path)
    pixels = channels_first(images, loaded.view.size)
    calls: dict[str, Call] = {PYTORCH: _eager(loaded)}
    with tempfile.TemporaryDirectory() as folder:
        float_file, int8_file, int4_file = (Path(folder, f"{name}.onnx") for name in ("float", "int8", "int4"))
        export_checkpoint(path, loaded, float_file)
        calls[FLOAT] = OnnxClassifier(float_file, threads).run
        if model == BASELINE or loaded.integer_tensors:
            calibration = pixels[: deploy.calibration_samples]
            integers.quantize_int8(float_file, int8_file, images=calibration, reduce_range=deploy.reduce_range)
            calls[INT8] = OnnxClassifier(int8_file, threads).run
        if weights := integers.int4_weights(path, loaded):
            integers.quantize_int4(float_file, int4_file, weights)
            calls[INT4] = OnnxClassifier(int4_file, threads).run
    return pixels, calls


def _eager(loaded: Checkpoint) -> Call:
    network = FromPixels(loaded.model, loaded.view).eval().to(memory_format=torch.channels_last)

    def call(pixels: Pixels) -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(pixels))

    return call


def _paper_protocol_ms(call: Call, image: Pixels) -> float:
    return latency.interleaved({PYTORCH: partial(call, image)}, warm_up=0, rounds=PAPER_RUNS)[PYTORCH].mean_ms


def _row(
    key: tuple[str, str, int], times: Mapping[tuple[str, str, int], latency.Times], paper: Mapping[str, float]
) -> Row:
    (model, engine, size), measured = key, times[key]
    low, high = measured.quartiles_ms
    dense = times.get((BASELINE, engine if engine == PYTORCH else FLOAT, size))
    return {
        "model": model,
        "engine": engine,
        "batch_size": size,
        "latency_ms_p50": round(measured.median_ms, 4),
        "latency_ms_p25": round(low, 4),
        "latency_ms_p75": round(high, 4),
        "n": measured.n,
        "speedup": round(dense.median_ms / measured.median_ms, 3) if dense else None,
        "paper_protocol_ms": round(paper[model], 4) if engine == PYTORCH and size == 1 else None,
    }
