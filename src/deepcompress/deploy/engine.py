"""What engines are given: a checkpoint, images to calibrate on, and its ONNX files, each made when an engine asks.

An engine is a file in `deploy/engines`: `FLOAT_FORM` names the engine whose dense float model its times are held
against, `missing()` says in one line why it cannot run here (None: it can), and `load(deployable)` returns what takes
uint8 pixels to logits, or None where the engine has no form of this model.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from deepcompress import params
from deepcompress.data.images import WHITE
from deepcompress.deploy import integers
from deepcompress.deploy.onnx import export_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    import numpy as np
    from jaxtyping import Float, UInt8

    from deepcompress.deploy.settings import Deploy
    from deepcompress.models.checkpoint import Checkpoint

    Pixels = UInt8[np.ndarray, "images 3 size size"]
    Call = Callable[[Pixels], Float[np.ndarray, "images classes"]]

ENGINES = "deploy.engines"


@dataclass(frozen=True, eq=False)
class Deployable:
    """A checkpoint on its way into engines.

    Attributes:
        path: The checkpoint.
        loaded: What it holds.
        calibration: Training images as the model takes them, for the ranges of int8 activations.
        settings: How int8 files are made.
        threads: Of every engine.
        folder: For the files that engines read; exists while they run.
        always_int8: Whether there is an int8 form although the model's own weights are no integers.
        stored_size: As `export_checkpoint` takes it; with that of the export stage, its files are found again.
        white: Likewise.
    """

    path: Path
    loaded: Checkpoint
    calibration: Pixels
    settings: Deploy
    threads: int
    folder: Path
    always_int8: bool = False
    stored_size: int | None = None
    white: int = WHITE

    @cached_property
    def float_file(self) -> Path:
        """The model as ONNX in float32."""
        path = self.folder / "float.onnx"
        export_checkpoint(self.path, self.loaded, path, stored_size=self.stored_size, white=self.white)
        return path

    @cached_property
    def int8_file(self) -> Path | None:
        """In int8, of a model whose own weights are integers."""
        if not (self.always_int8 or self.loaded.integers):
            return None
        path, reduce_range = self.folder / "int8.onnx", self.settings.reduce_range
        integers.quantize_int8(self.float_file, path, images=self.calibration, reduce_range=reduce_range)
        return path

    @cached_property
    def int4_file(self) -> Path | None:
        """With the model's own weights in 4 bits, if it stores them in 4 or fewer."""
        weights = integers.int4_weights(self.loaded)
        if not weights:
            return None
        integers.quantize_int4(self.float_file, self.folder / "int4.onnx", weights)
        return self.folder / "int4.onnx"


def available(names: tuple[str, ...]) -> tuple[dict[str, ModuleType], dict[str, str]]:
    """The engines of these names that run here, and why each of the others does not.

    Raises:
        UserError: If there is no engine of a name.
    """
    engines = {name: params.plugin(ENGINES, name, "benchmark.engines") for name in names}
    missing = {name: why for name, engine in engines.items() if (why := engine.missing()) is not None}
    return {name: engine for name, engine in engines.items() if name not in missing}, missing


def not_installed(package: str, group: str) -> str | None:
    """What `missing` says of a package of an optional group; None if it is there."""
    there = importlib.util.find_spec(package) is not None
    return None if there else f"{package} is not installed; `uv sync --group {group}` adds it"
