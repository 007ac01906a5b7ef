"""How fast models run on this machine, every one of them timed in turn in every engine that has a form of it.

What is timed is what a program waits for: uint8 pixels in, logits out, normalisation included. int8 files are made
of models whose own weights are integers, and of the baseline, so that the gain of int8 alone can be read; int4 files
of models that are stored in 4 bits or fewer.

An engine is a file in `deploy/engines`: `FLOAT_FORM` names the engine whose dense float model its times are held
against, `missing()` says in one line why it cannot run here (None: it can), and `load(deployable)` returns what takes
uint8 pixels to logits, or None where the engine has no form of this model.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from deepcompress import params, runtime
from deepcompress.data.store import open_fit, sampled
from deepcompress.deploy.integers import Deployable
from deepcompress.deploy.onnx import channels_first
from deepcompress.errors import UserError, require_array
from deepcompress.measure import passes
from deepcompress.plan_table import BASELINE

if TYPE_CHECKING:
    from types import ModuleType

    from jaxtyping import Float

    from deepcompress.deploy.integers import Pixels
    from deepcompress.deploy.settings import Benchmark, Deploy

    Call = Callable[[Pixels], Float[np.ndarray, "images classes"]]
    Row = dict[str, Any]

log = logging.getLogger(__name__)
ENGINES = "deploy.engines"
PYTORCH = "pytorch"
FILES = {  # what engines read, and find in scratch once it was made: on all cores, before anything is timed
    **dict.fromkeys(("onnxruntime", "openvino"), "float_file"),
    **dict.fromkeys(("onnxruntime_int8", "openvino_int8"), "int8_file"),
    "onnxruntime_int4": "int4_file",
}
PAPER_RUNS = 50  # of one image, in PyTorch, no warm-up, the mean: the source report's protocol
CPU_INFO = Path("/proc/cpuinfo")
PACKAGES = ("torch", "onnxruntime", "openvino", "executorch", "torchao")


def available(names: tuple[str, ...]) -> tuple[dict[str, ModuleType], dict[str, str]]:
    """The engines of these names that run here, and why each of the others does not; UserError for other names."""
    engines = {name: params.plugin(ENGINES, name, "benchmark.engines") for name in names}
    missing = {name: why for name, engine in engines.items() if (why := engine.missing()) is not None}
    return {name: engine for name, engine in engines.items() if name not in missing}, missing


def not_installed(package: str, group: str) -> str | None:
    """What `missing` says of a package of an optional group; None if it is there."""
    there = importlib.util.find_spec(package) is not None
    return None if there else f"{package} is not installed; `uv sync --group {group}` adds it"


def latencies(models: Mapping[str, Path], fit: Path, settings: Benchmark, deploy: Deploy, *, seed: int) -> list[Row]:
    """Time every model in every engine at every batch size, on training images in `fit`.

    `seed` draws the images, and the order within each round. A UserError if a model is missing or damaged, or an engine
    cannot load one or gives no logits.

    Returns:
        A row per model, engine and batch size: `latency_ms_p50` with `_p25` and `_p75` of one call, `n` calls,
        `speedup`, the dense float model's median in the same engine's float form divided by this one's, and
        `paper_protocol_ms`.
    """
    threads = settings.threads or os.cpu_count() or 1
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    opened = open_fit(fit)
    images = sampled(opened.train, max(*settings.batch_sizes, deploy.calibration_samples), seed).images
    calibration = images[: deploy.calibration_samples]
    engines, missing = available(settings.engines)
    for name, why in missing.items():
        log.warning("%s is left out: %s", name, why)
    tasks: dict[tuple[str, str, int], Callable[[], Any]] = {}
    singles: dict[str, Callable[[], Any]] = {}  # an image in PyTorch
    classes: dict[str, int] = {}
    each = [
        partial(Deployable, path, calibration, opened.meta, deploy, threads=threads, always_int8=model == BASELINE)
        for model, path in models.items()
    ]
    try:
        list(runtime.on_cores([partial(_make_files, one, engines) for one in each], threads))
        for model, one in zip(models, each, strict=True):
            with tempfile.TemporaryDirectory() as folder:
                read = one(folder=Path(folder))
                forms = {name: _loaded(name, engine, model, read) for name, engine in engines.items()}
            pixels = channels_first(images[: max(settings.batch_sizes)], read.loaded.view.size)
            classes[model] = len(read.loaded.classes)
            for name, call in forms.items():
                if call is not None:
                    tasks |= {(model, name, size): partial(call, pixels[:size]) for size in settings.batch_sizes}
                    singles |= {model: partial(call, pixels[:1])} if name == PYTORCH else {}
        times = passes.interleaved(tasks, warm_up=settings.warm_up, rounds=settings.rounds, seed=seed)
        paper = {
            model: float(passes.interleaved({model: single}, warm_up=0, rounds=PAPER_RUNS)[model].mean())
            for model, single in singles.items()
        }
        for (model, engine, size), task in tasks.items():
            logits = f"engine {engine}: the logits of {model}"
            require_array(logits, task(), (size, classes[model]), "float")
    finally:
        torch.set_num_threads(before)
    forms_of = {name: engine.FLOAT_FORM for name, engine in engines.items()}
    return [_row(key, times, paper, forms_of) for key in times]


def _loaded(name: str, engine: ModuleType, model: str, read: Deployable) -> Call | None:
    try:
        return cast("Call | None", engine.load(read))
    except (UserError, OSError):
        raise
    except Exception as error:  # whatever a runtime raises
        raise UserError(f"engine {name} cannot load {model}: {type(error).__name__}: {error}") from error


def _make_files(deployable: Callable[..., Deployable], engines: Iterable[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = deployable(folder=Path(folder))
        for file in dict.fromkeys(FILES[name] for name in engines if name in FILES):
            getattr(made, file)


def machine(settings: Benchmark) -> Row:
    """What the times belong to: processor, cores, threads and versions."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": settings.threads or os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES if importlib.util.find_spec(name)},
        "engines_left_out": available(settings.engines)[1],
        "warm_up": settings.warm_up,
        "rounds": settings.rounds,
    }


def processor() -> str:
    """The name of this machine's processor."""
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _row(
    key: tuple[str, str, int],
    times: Mapping[tuple[str, str, int], np.ndarray],
    paper: Mapping[str, float],
    float_forms: Mapping[str, str],
) -> Row:
    (model, engine, size), measured = key, times[key]
    low, median, high = np.percentile(measured, (25, 50, 75))
    dense = times.get((BASELINE, float_forms[engine], size))
    return {
        "model": model,
        "engine": engine,
        "batch_size": size,
        "latency_ms_p50": round(float(median), 4),
        "latency_ms_p25": round(float(low), 4),
        "latency_ms_p75": round(float(high), 4),
        "n": len(measured),
        "speedup": None if dense is None else round(float(np.median(dense) / median), 3),
        "paper_protocol_ms": round(paper[model], 4) if engine == PYTORCH and size == 1 else None,
    }
